// Owns the default seccomp profile, that of containerd 2.x in the words of the OCI specification, and its filter. What it adds for a
// capability is added when the capability is in the bounding set.
import os from 'node:os';
import type { Arch } from '../linux/numbers.ts';
import { ALLOW, ENOSYS, EPERM, ERRNO, hostArch } from './seccomp-bpf.ts';
import { compileSeccompProfile } from './seccomp-compile.ts';
import type { ArgumentTest, OciSeccompProfile, SeccompRule } from './seccomp-oci.ts';
import type { SeccompFilter } from './spec.ts';

const words = (text: string) => text.trim().split(/\s+/);

const files = words(`
  access cachestat chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
  fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr
  flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd
  getdents getdents64 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl lchown lchown32
  lgetxattr link linkat listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 mkdir mkdirat
  mknod mknodat name_to_handle_at newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead
  readlink readlinkat readv removexattr removexattrat rename renameat renameat2 rmdir sendfile sendfile64 setxattr setxattrat splice
  stat stat64 statfs statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64 umask unlink
  unlinkat utime utimensat utimensat_time64 utimes vmsplice write writev
`);

const waiting = words(`
  epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 io_cancel
  io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit _newselect pause pipe pipe2 poll ppoll ppoll_time64
  pselect6 pselect6_time64 select signalfd signalfd4
`);

const memory = words(`
  brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap mseal
  msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages
`);

const processes = words(`
  capget capset execve execveat exit exit_group fork futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake
  get_robust_list get_thread_area getcpu getpgid getpgrp getpid getppid getpriority getrlimit getrusage getsid gettid ioprio_get
  ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lsm_get_self_attr lsm_list_modules
  lsm_set_self_attr pidfd_open pidfd_send_signal prctl prlimit64 process_mrelease process_vm_readv process_vm_writev ptrace
  restart_syscall rseq sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
  sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
  sched_setscheduler sched_yield seccomp set_robust_list set_thread_area set_tid_address setpgid setpriority setrlimit setsid
  sysinfo tgkill times tkill ugetrlimit uname uretprobe vfork wait4 waitid waitpid arch_prctl modify_ldt
`);

const signals = words(`
  rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
  rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn
`);

const ids = words(`
  getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32 getresuid getresuid32 getuid
  getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32
  setresuid setresuid32 setreuid setreuid32 setuid setuid32
`);

const ipc = words(`
  ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl
  msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget
`);

const sockets = words(`
  accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmmsg_time64 recvmsg sendmmsg
  sendmsg sendto setsockopt shutdown socketcall socketpair
`);

const time = words(`
  adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
  clock_nanosleep_time64 getitimer getrandom gettimeofday nanosleep setitimer time timer_create timer_delete timer_getoverrun
  timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
  timerfd_settime64
`);

const always = [...files, ...waiting, ...memory, ...processes, ...signals, ...ids, ...ipc, ...sockets, ...time];

const withCapability: Readonly<Record<string, readonly string[]>> = {
  CAP_DAC_READ_SEARCH: words(`open_by_handle_at`),
  CAP_SYS_ADMIN: words(
    `bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare`,
  ),
  CAP_SYS_BOOT: words(`reboot`),
  CAP_SYS_CHROOT: words(`chroot`),
  CAP_SYS_MODULE: words(`delete_module init_module finit_module`),
  CAP_SYS_PACCT: words(`acct`),
  CAP_SYS_PTRACE: words(`kcmp pidfd_getfd process_madvise`),
  CAP_SYS_RAWIO: words(`iopl ioperm`),
  CAP_SYS_TIME: words(`settimeofday stime clock_settime clock_settime64`),
  CAP_SYS_TTY_CONFIG: words(`vhangup`),
  CAP_SYS_NICE: words(`get_mempolicy mbind set_mempolicy set_mempolicy_home_node`),
  CAP_SYSLOG: words(`syslog`),
  CAP_BPF: words(`bpf`),
  CAP_PERFMON: words(`perf_event_open`),
};

const AF_VSOCK = 40;
/** AF_MAX is below it. */
const FAMILIES = 64;
/** PER_LINUX, PER_LINUX32, the same with UNAME26, and the query. personality(2) */
const PERSONALITIES = [0, 8, 0x20000, 0x20008, 0xffffffff];
/** CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET */
const CLONE_NAMESPACES = 0x7e020000n;

const ANYWHERE = { caps: [], arches: [], minKernel: '' };

function rule(names: readonly string[], more: Partial<SeccompRule> = {}): SeccompRule {
  return { names, action: ALLOW, args: [], includes: ANYWHERE, excludes: ANYWHERE, ...more };
}

const masked = (mask: bigint, value: bigint): ArgumentTest => ({ index: 0, operator: 'MASKED_EQ', value: mask, valueTwo: value });

/**
 * The host's virtual machines are not the container's to talk to. The kernel reads an int, so NE would let pass what differs in the high
 * half alone: a family is another one when one of its own bits is.
 */
function otherFamiliesThan(family: number): SeccompRule[] {
  const bits = Array.from({ length: Math.log2(FAMILIES) }, (_, bit) => 1n << BigInt(bit));
  const above = 0xffffffffn - BigInt(FAMILIES - 1);
  return bits.map((bit) => rule(['socket'], { args: [masked(above | bit, ~BigInt(family) & bit)] }));
}

const withoutAdmin = { ...ANYWHERE, caps: ['CAP_SYS_ADMIN'] };

export const DEFAULT_PROFILE: OciSeccompProfile = {
  defaultAction: ERRNO | EPERM,
  architectures: ['x86_64', 'i386', 'aarch64'],
  archMap: new Map(),
  flags: [],
  rules: [
    rule(always),
    ...Object.entries(withCapability).map(([capability, names]) => rule(names, { includes: { ...ANYWHERE, caps: [capability] } })),
    ...otherFamiliesThan(AF_VSOCK),
    ...PERSONALITIES.map((value) => rule(['personality'], { args: [{ index: 0, operator: 'EQ', value: BigInt(value), valueTwo: 0n }] })),
    rule(['clone'], { args: [masked(CLONE_NAMESPACES, 0n)], excludes: withoutAdmin }),
    // A filter cannot see the flags of clone3: they are behind a pointer, and libraries use clone where it does not exist.
    rule(['clone3'], { action: ERRNO | ENOSYS, excludes: withoutAdmin }),
  ],
};

const compiled = new Map<string, SeccompFilter>();

/** The default profile for a bounding set of capabilities; compiled once for each. */
export function defaultSeccompFilter(bounding: readonly string[], arch: Arch = hostArch): SeccompFilter {
  const key = [arch, ...bounding].join(' ');
  const filter = compiled.get(key) ?? compileSeccompProfile(DEFAULT_PROFILE, { capabilities: bounding, kernelRelease: os.release(), arch });
  compiled.set(key, filter);
  return filter;
}
