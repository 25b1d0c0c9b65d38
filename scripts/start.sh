#!/bin/sh
# Installs, builds and runs the sample pods on this machine. Further flags are passed on: npm start -- --log-format json
if [ "$(id -u)" != 0 ]; then
  echo "npm start runs pods on this machine, which only root may: run it with sudo" >&2
  exit 1
fi
. "$(dirname "$0")/node.sh"
if [ ! -f dist/agent/main.js ] || [ -n "$(find agent runtime cni cri-proto package.json tsconfig.json -newer dist/agent/main.js | head -n 1)" ]; then
  echo "building dist/ (tsc)"
  sh scripts/build.sh || exit 1
fi
exec bin/tskubelet --manifests ./manifests --stop-pods-on-exit "$@"
