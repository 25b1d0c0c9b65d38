#!/bin/sh
# Installs the Debian packages that the root and e2e tests use as peers, oracles and guests. Starts no service, removes no package.
# Tests that miss one are skipped with the reason, so every way out of here is a success. With "bench": the benchmark's peers as well.
set -u
packages="
  binutils                  re-assembles the stubs and compares
  binutils-aarch64-linux-gnu
  qemu-user-static          runs the aarch64 stub
  busybox-static            the image localhost/busybox:host
  nftables                  reads our rules back
  containernetworking-plugins  in chains with ours, and the benchmark of attaching
  iptables                  what their portmap writes
  iproute2                  reads our links and routes back
  bind9-dnsutils            asks for names
  dnsmasq-base              the name server behind the node
  conntrack                 reads back how connections were translated
  iperf3                    throughput, in the benchmark
  socat                     asks and answers over tcp and udp
  e2fsprogs                 files of the qemu guest
  user-mode-linux           a cgroup v2 kernel as a process
  qemu-system-x86           the same, with every controller
  crun                      benchmarks side by side, and the runtime handlers
  runc
  criu                      checkpoints, in the qemu guest
  docker-registry           pulling
  openssl                   certificates of registries
  buildah                   makes images of several platforms
  skopeo                    copies images into it
  umoci                     unpacks them for comparison
  libcap2-bin               file capabilities of images
  containerd                runs our CNI plugins, and the benchmark of pulling
  prometheus                scraping
  gcc                       programs of the images that critest pulls
  libc6-dev
  make
  bzip2                     unpacks the source of their busybox
  apparmor                  loads the profiles of critest in the qemu guest
"
[ "${1:-}" != bench ] || packages="$packages
  podman                    the benchmark of pulling
"
# Debian's kernel for qemu is unpacked into the cache, never installed.
kernel=linux-image-cloud-amd64
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/tskubelet-test

skip() { echo "test dependencies: not installed: $1; tests that miss one are listed as skipped"; exit 0; }

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

missing=
for name in $(echo "$packages" | awk 'NF { print $1 }'); do
  installed "$name" || missing="$missing $name"
done
[ "$(uname -m)" = x86_64 ] && [ ! -d "$cache/linux" ] && missing_kernel=$kernel || missing_kernel=
[ -n "$missing$missing_kernel" ] || exit 0

[ "${TSKUBELET_TEST_INSTALL:-1}" != 0 ] || skip "TSKUBELET_TEST_INSTALL=0"
[ "$(id -u)" = 0 ] || skip "not root"
command -v apt-get >/dev/null && command -v dpkg-query >/dev/null || skip "no apt on this machine"

echo "test dependencies: installing$missing"
[ -z "$missing_kernel" ] || echo "test dependencies: unpacking $missing_kernel into $cache/linux"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
apt-get update >"$log" 2>&1 || cat "$log"

# invoke-rc.d(8) asks this file before it starts a service; 101 forbids it.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod 755 $policy
  trap 'rm -f $policy "$log"' EXIT
  trap 'exit 1' INT TERM
else
  trap 'rm -f "$log"' EXIT
fi

# One by one, so that a package unknown to this release costs only its own tests.
for name in $missing; do
  if apt-get install -y -q --no-remove --no-install-recommends "$name" >"$log" 2>&1; then
    for unit in $(dpkg -L "$name" | sed -n 's|^.*/systemd/system/\([^/]*\.service\)$|\1|p'); do
      deb-systemd-helper disable "$unit" >/dev/null 2>&1
    done
  else
    echo "test dependencies: $name could not be installed: $(grep -m1 '^E:' "$log" || tail -n1 "$log")"
  fi
done

if [ -n "$missing_kernel" ]; then
  # The meta package names the kernel of the day.
  real=$(apt-cache depends "$kernel" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n1)
  work=$(mktemp -d)
  chmod 755 "$work"
  if [ -n "$real" ] && (cd "$work" && apt-get download "$real" >"$log" 2>&1 && dpkg -x ./*.deb linux); then
    mkdir -p "$cache"
    rm -rf "$cache/linux.new"
    cp -a "$work/linux" "$cache/linux.new" && mv "$cache/linux.new" "$cache/linux"
  else
    echo "test dependencies: $kernel could not be unpacked: $(grep -m1 '^E:' "$log" || tail -n1 "$log")"
  fi
  rm -rf "$work"
fi
exit 0
