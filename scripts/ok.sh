#!/bin/sh
# The inner loop: types, lint, tidy and unit tests; no root, under 20 s.
. "$(dirname "$0")/node.sh"
set -e
tsc
biome check --error-on-warnings .
exec node --test --test-reporter=dot 'scripts/*.test.ts' $(find agent runtime cni cri-proto -name '*.test.ts' ! -name '*.root.test.ts')
