#!/bin/sh
# Installs, builds and runs the sample pods on this machine. Further flags are passed on: npm start -- --log-format json
. "$(dirname "$0")/node.sh"
sh scripts/build.sh || exit 1
exec bin/tskubelet --manifests ./manifests --stop-pods-on-exit "$@"
