// Owns the AppArmor profile of containers that name none of their own. apparmor.d(5)

export const DEFAULT_APPARMOR_PROFILE = 'tskubelet-default';

/**
 * Everything that the rest of a container's walls is not about: mounting, the switches of the kernel below /proc and /sys, and other
 * profiles' processes. Needs no file of the host, so that apparmor_parser alone suffices.
 */
export function renderAppArmorProfile(name = DEFAULT_APPARMOR_PROFILE): string {
  return `profile ${name} flags=(attach_disconnected,mediate_deleted) {
  network,
  capability,
  file,
  umount,

  # Signals: from outside any, inside among themselves.
  signal (receive) peer=unconfined,
  signal (send,receive) peer=${name},
  ptrace (trace,read,tracedby,readby) peer=${name},

  deny mount,
  deny @{PROC}/sysrq-trigger rwklx,
  deny @{PROC}/kcore rwklx,
  deny @{PROC}/mem rwklx,
  deny @{PROC}/kmem rwklx,
  deny @{PROC}/{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9]*}/** w,
  deny @{PROC}/sys/[^kn]** w,
  deny @{PROC}/sys/kernel/{?,??,[^s][^h][^m]**} w,

  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
`.replaceAll('@{PROC}', '/proc');
}
