// The contract of runtime/cgroup: resources as intents, the plan of controller files, and a cgroup in the kernel.

/** What may be limited, independent of cgroup version. Absent: leave as it is. -1n memory or pids: unlimited. */
export interface Resources {
  readonly memoryLimitBytes?: bigint;
  readonly memorySwapLimitBytes?: bigint;
  readonly memoryMinBytes?: bigint;
  readonly memoryLowBytes?: bigint;
  readonly memoryHighBytes?: bigint;
  readonly memoryOomGroup?: boolean;
  /** v1 units: 2 … 262144. */
  readonly cpuShares?: bigint;
  readonly cpuQuotaUs?: bigint;
  readonly cpuPeriodUs?: bigint;
  readonly cpusetCpus?: string;
  readonly cpusetMems?: string;
  readonly pidsLimit?: bigint;
  /** page size ("2MB") to bytes */
  readonly hugepageLimits?: Readonly<Record<string, bigint>>;
  /** Raw cgroup2 file contents, applied last: {"io.max": "8:0 rbps=1048576"}. */
  readonly unified?: Readonly<Record<string, string>>;
}

export interface CgroupWrite {
  readonly controller: string;
  readonly file: string;
  readonly value: string;
}

/** What could not be expressed on this host, for explain and doctor: {intent: "memory.oom.group", reason: "cgroup v1 memory controller"}. */
export interface Unexpressed {
  readonly intent: string;
  readonly reason: string;
}

export interface CgroupPlan {
  readonly writes: readonly CgroupWrite[];
  /** v1 controllers that must be joined; the unified hierarchy is always joined. */
  readonly controllers: readonly string[];
  readonly unexpressed: readonly Unexpressed[];
}

/** Where each controller of this host is mounted. */
export interface CgroupHost {
  readonly mode: 'unified' | 'hybrid' | 'legacy' | 'none';
  /** Mount point of cgroup2, if any. */
  readonly unified?: string;
  /** Controllers usable in the unified hierarchy. */
  readonly unifiedControllers: readonly string[];
  /** v1 controller name to its mount point. */
  readonly v1: Readonly<Record<string, string>>;
  readonly writable: boolean;
  /** False where the kernel counts no swap: memory.swap.max and memory.memsw.limit_in_bytes are absent then. */
  readonly swapAccounting: boolean;
}

/** A cgroup at one path in every hierarchy that it uses. `path` is absolute below the hierarchy's root: /kubepods/pod…/… */
export interface Cgroup {
  readonly path: string;
  readonly unifiedDir: string | undefined;
  /** v1 controller name to directory. */
  readonly v1Dirs: Readonly<Record<string, string>>;
}
