#!/bin/sh
# Compiles the sources to dist/, which bin/tskubelet prefers while it is newer than they are.
. "$(dirname "$0")/node.sh"
set -e
rm -rf dist
tsc --noEmit false --outDir dist --rootDir . --declaration false
find dist -name '*.test.js' -delete
rm -rf dist/e2e dist/bench dist/scripts
