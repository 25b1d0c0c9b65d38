#!/bin/sh
# Generates cri-proto/gen from cri-proto/api.proto; an argument names another directory to write to.
. "$(dirname "$0")/node.sh"
set -e
out=${1:-.}
cd cri-proto
exec buf generate api.proto --template buf.gen.yaml --output "$out"
