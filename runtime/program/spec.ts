// What a container, an exec session or a pause process shall be: the input of the program planners. Paths are host paths unless said
// otherwise; nothing here comes from CRI or Kubernetes types.

export type NamespaceKind = 'net' | 'ipc' | 'uts' | 'pid' | 'mnt' | 'cgroup' | 'user' | 'time';

/** new: unshared for this process. join: taken from the sandbox's pause process (or, pid only, from a target container). host: left alone. */
export type NamespaceMode = 'new' | 'join' | 'host';

export interface Namespaces {
  readonly net: NamespaceMode;
  readonly ipc: NamespaceMode;
  readonly uts: NamespaceMode;
  readonly pid: NamespaceMode;
  readonly cgroup: NamespaceMode;
  readonly user: NamespaceMode;
  /** Absent: the host's. */
  readonly time?: NamespaceMode;
}

export interface IdMapping {
  readonly containerId: number;
  readonly hostId: number;
  readonly size: number;
}

/** How far a clock of the time namespace is ahead of the host's. */
export interface TimeOffset {
  readonly clock: 'monotonic' | 'boottime';
  readonly seconds: number;
}

export interface Rootfs {
  /** Overlay layers, topmost first. */
  readonly lowerDirs: readonly string[];
  readonly upperDir: string;
  readonly workDir: string;
  /** Nothing that is written is ever synced to disk (overlayfs.rst, "Volatile mount"). */
  readonly isVolatile?: boolean;
  /** An empty directory that the overlay is mounted on, in the container's mount namespace only. */
  readonly mountpoint: string;
  readonly readonly: boolean;
  /** Of all its files, by the mount option context=. */
  readonly selinuxLabel?: string;
}

export type MountAttribute = 'noexec' | 'nodev' | 'nosuid';

export type MountPropagation = 'private' | 'rslave' | 'rshared';

export interface BindMount {
  readonly kind: 'bind';
  readonly source: string;
  /** Path in the container. */
  readonly target: string;
  readonly sourceIsDirectory: boolean;
  readonly readonly: boolean;
  readonly recursiveReadonly: boolean;
  readonly propagation: MountPropagation;
  /** The source's owners are mapped through the container's user namespace. */
  readonly idmapped?: boolean;
  readonly attributes?: readonly MountAttribute[];
}

/** A directory of another image, read-only and without programs. */
export interface ImageMount {
  readonly kind: 'image';
  readonly target: string;
  /** That directory in each layer that has it, topmost first. */
  readonly lowerDirs: readonly string[];
  /** A directory of the container's own for the layers' overlay, in its mount namespace only. */
  readonly mountpoint: string;
}

export interface TmpfsMount {
  readonly kind: 'tmpfs';
  readonly target: string;
  /** tmpfs(5) data, such as "mode=1777,size=65536k". */
  readonly options: string;
}

export type Mount = BindMount | TmpfsMount | ImageMount;

export interface Device {
  /** Path in the container. */
  readonly path: string;
  /** Host path of the node, for bind mounting where mknod is not allowed. */
  readonly hostPath: string;
  readonly type: 'c' | 'b';
  readonly major: number;
  readonly minor: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface Rlimit {
  /** RLIMIT_NOFILE, RLIMIT_CORE, … */
  readonly type: string;
  readonly soft: bigint;
  readonly hard: bigint;
}

export interface Identity {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
}

export interface Capabilities {
  /** CAP_… names. */
  readonly bounding: readonly string[];
  readonly effective: readonly string[];
  readonly permitted: readonly string[];
  readonly inheritable: readonly string[];
  readonly ambient: readonly string[];
}

export interface SeccompFilter {
  /** Classic BPF for seccomp(2), loaded in this order. */
  readonly programs: readonly Buffer[];
  /** SECCOMP_FILTER_FLAG_… of each load. */
  readonly flags: number;
}

export interface Process {
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly user: Identity;
  readonly capabilities: Capabilities;
  readonly noNewPrivileges: boolean;
  readonly rlimits: readonly Rlimit[];
  readonly oomScoreAdj?: number;
  readonly terminal: boolean;
  /** Absent for unconfined. */
  readonly seccomp?: SeccompFilter;
  readonly apparmorProfile?: string;
  readonly selinuxLabel?: string;
}

/** Where the process is placed before it executes the user's program. */
export interface CgroupPlacement {
  /** Directory in the cgroup2 hierarchy, entered by CLONE_INTO_CGROUP. */
  readonly unified?: string;
  /** cgroup.procs files of v1 hierarchies, joined by writing "0". */
  readonly v1Procs: readonly string[];
}

export interface ContainerSpec {
  readonly rootfs: Rootfs;
  readonly namespaces: Namespaces;
  readonly process: Process;
  readonly mounts: readonly Mount[];
  readonly devices: readonly Device[];
  readonly maskedPaths: readonly string[];
  readonly readonlyPaths: readonly string[];
  readonly cgroup: CgroupPlacement;
  /** Mount /sys read-write and /sys/fs/cgroup read-write, /proc/sys writable. */
  readonly privileged: boolean;
  /** What /sys/fs/cgroup shows: the unified hierarchy, the v1 controllers of a hybrid host, or nothing. */
  readonly cgroupMount: 'cgroup2' | 'host-bind' | 'none';
  /** Its stdin is a FIFO whose last write end the shim keeps. */
  readonly keepsStdin: boolean;
  /** Source of /dev/shm: a directory of the sandbox, or the host's. */
  readonly shmSource: string;
  readonly uidMappings?: readonly IdMapping[];
  readonly gidMappings?: readonly IdMapping[];
}

export interface ExecSpec {
  readonly process: Process;
  readonly cgroup: CgroupPlacement;
  readonly namespaces: readonly NamespaceKind[];
}

export interface PauseSpec {
  readonly namespaces: Omit<Namespaces, 'cgroup'>;
  readonly hostname: string;
  readonly sysctls: Readonly<Record<string, string>>;
  readonly cgroup: CgroupPlacement;
  readonly oomScoreAdj?: number;
  readonly uidMappings?: readonly IdMapping[];
  readonly gidMappings?: readonly IdMapping[];
  /** Of the time namespace, when it has one. */
  readonly timeOffsets?: readonly TimeOffset[];
}
