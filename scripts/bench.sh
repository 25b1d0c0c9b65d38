#!/bin/sh
# npm run bench [-- N]: container start, exec and sandbox start, side by side with the crun and runc of this machine, N rounds of each;
# then attaching to a network, side by side with Debian's CNI plugins; then pulling an image, side by side with containerd, podman and
# skopeo + umoci. npm run bench -- attach [N] or pull [N]: one of these alone.
. "$(dirname "$0")/node.sh"
[ "$(id -u)" = 0 ] || { echo "bench: only root may start containers; use sudo" >&2; exit 1; }
sh scripts/install-test-deps.sh bench
# In a mount namespace of their own the peers' mounts are gone with them.
bench_pull() { unshare -m --propagation private node --no-warnings bench/pull.ts "$@"; }
# In a network namespace that plays the host.
bench_attach() { unshare -n sh -c 'ip link set lo up && exec node --no-warnings bench/attach.ts "$@"' attach "$@"; }
case "${1:-}" in
  pull | attach)
    what=$1
    shift
    "bench_$what" "$@"
    exit
    ;;
esac
if [ "${1:-}" = throughput ]; then
  shift
  exec node --no-warnings bench/throughput.ts "$@"
fi
# In a mount namespace of our own: the peers' root filesystem is mounted there, and crun, which refuses hybrid hosts, finds no cgroup2
# beside the v1 controllers. Ours keeps it, under another name.
unshare -m --propagation private sh -c '
  aside=$(mktemp -d)
  trap "rmdir $aside" EXIT
  if [ "$(stat -f -c %T /sys/fs/cgroup/unified 2>/dev/null)" = cgroup2fs ]; then
    mount --bind /sys/fs/cgroup/unified "$aside"
    mount -t tmpfs tmpfs /sys/fs/cgroup/unified
  fi
  node --no-warnings bench/main.ts "$@"
  status=$?
  umount "$aside" 2>/dev/null
  exit $status
' bench "$@" || exit
echo
bench_attach "$@"
echo
bench_pull
echo
exec node --no-warnings bench/throughput.ts
