#!/bin/sh
# The inner loop: types, lint, tidy and unit tests; no root, under 20 s.
. "$(dirname "$0")/node.sh"
set -e
tsc
biome check --error-on-warnings .
exec node scripts/run-tests.ts unit
