#!/bin/sh
# Generates cri-proto/gen from api.proto and admin.proto; an argument names another directory to write to.
. "$(dirname "$0")/node.sh"
set -e
out=${1:-.}
cd cri-proto
for file in api.proto admin.proto; do buf generate "$file" --template buf.gen.yaml --output "$out"; done
