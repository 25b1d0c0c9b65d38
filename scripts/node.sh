# Sourced by the other scripts: installs the dependencies when they are missing or older than the lock, and sets $node to a Node >= 24.
cd "$(dirname "$0")/.." || exit 1
if [ ! -f node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  echo "installing dependencies from npm's registry (npm ci); once, 550 MB on disk"
  npm ci || {
    echo "npm ci did not finish: it needs npm's registry this once ('npm ping' tells whether it is reached); then try again" >&2
    exit 1
  }
  touch node_modules/.package-lock.json
fi
node=node
case $(node --version 2>/dev/null) in
  v2[4-9].* | v[3-9][0-9].*) ;;
  *) node=$PWD/node_modules/node-linux-$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')/bin/node ;;
esac
PATH=$(dirname "$(command -v "$node")"):$PWD/node_modules/.bin:$PATH
# Stripped and compiled sources are kept between runs: every test process would pay for them anew.
NODE_COMPILE_CACHE=$PWD/node_modules/.cache/node
export PATH NODE_COMPILE_CACHE
