// Owns the contract between programs and the daemon: the 32-byte records that programs write, and the descriptors that they are given.
//
//   record: u32 id, u32 type, u64 value, u64 seconds, u64 nanoseconds        (exit: value is the raw wait status, then CLOCK_REALTIME)
//           u32 id, u32 type 9, u32 op offset, s32 errno, 16 spare bytes     (failure)
//           u32 id, u32 type 6, u64 op offset, s64 -errno, 8 spare bytes     (warning)

export const RECORD_BYTES = 32;

export const RECORD = {
  /** value: pid of the process; it comes after the failure record when the start failed. */
  started: 2,
  exited: 3,
  /** The pause process holds its namespaces. */
  ready: 4,
  /** The pause process waits for its uid_map and gid_map, then for one byte on descriptor 5. */
  wantsIdMaps: 5,
  /** An op was refused and the program went on. */
  warning: 6,
  /** value: wait status of the program that was to make a container's init: an external OCI runtime, or criu. */
  created: 7,
  failed: 9,
  /** The launcher's own ops failed: descriptors could not be placed, or the image not be executed. */
  launchFailed: 10,
} as const;

/**
 * Descriptors of every image at its start. What a shim still holds while its container runs: events, exitFile, the three keepers,
 * the terminal's master and the init's pidfd; the daemon copies the last two with pidfd_getfd(2), also after its restart.
 */
export const FD = {
  /** pidfd of the process whose PID namespace is joined. */
  pidTarget: 3,
  events: 4,
  stdin: 5,
  stdout: 6,
  stderr: 7,
  /** pidfd of the process whose namespaces are joined: the pause process, or a container's init. */
  join: 8,
  exitFile: 9,
  cgroup: 10,
  userns: 11,
  /** The only lasting write end of a container's stdin FIFO. */
  keepStdin: 12,
  keepStdout: 13,
  keepStderr: 14,
  /** Master of the container's terminal. */
  terminal: 15,
  /** pidfd of the init, taken at its clone: never another process. */
  init: 16,
  /** A FIFO: one byte in it makes the shim close the last write end of the container's stdin. */
  endStdin: 17,
} as const;

/** First descriptor that no program uses. */
export const FD_END = 18;
