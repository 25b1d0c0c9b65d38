#!/bin/sh
# npm test: installs what the tests need, then types, lint and every test that this machine can run; what it cannot is listed at the end.
# npm test -- unit|slow|root|e2e: tests of that kind. npm test -- WORD: files with WORD in their path.
. "$(dirname "$0")/node.sh"
sh scripts/install-test-deps.sh
status=0
if [ $# = 0 ]; then
  tsc || status=1
  biome check --error-on-warnings . || status=1
fi
node scripts/run-tests.ts "$@" || status=1
exit $status
