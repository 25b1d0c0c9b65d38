// The parts of the OCI runtime specification's config.json that containers of ours use, as JSON names them. Limits are bigint: they reach
// 2^64 - 1, which encodeOciSpec writes out in full. https://github.com/opencontainers/runtime-spec/blob/main/config.md

export interface OciUser {
  readonly uid: number;
  readonly gid: number;
  readonly umask: number;
  readonly additionalGids: readonly number[];
}

export interface OciProcess {
  readonly terminal: boolean;
  readonly user: OciUser;
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly capabilities: Readonly<Record<'bounding' | 'effective' | 'permitted' | 'inheritable' | 'ambient', readonly string[]>>;
  readonly rlimits: readonly { readonly type: string; readonly hard: bigint; readonly soft: bigint }[];
  readonly noNewPrivileges: boolean;
  readonly oomScoreAdj?: number;
  readonly apparmorProfile?: string;
  readonly selinuxLabel?: string;
}

export interface OciMount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
  readonly uidMappings?: readonly OciIdMapping[];
  readonly gidMappings?: readonly OciIdMapping[];
}

export interface OciIdMapping {
  readonly containerID: number;
  readonly hostID: number;
  readonly size: number;
}

export interface OciNamespace {
  readonly type: 'network' | 'ipc' | 'uts' | 'pid' | 'mount' | 'cgroup' | 'user' | 'time';
  /** Absent: a new one. */
  readonly path?: string;
}

export interface OciDevice {
  readonly path: string;
  readonly type: 'c' | 'b';
  readonly major: number;
  readonly minor: number;
  readonly fileMode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface OciDeviceRule {
  readonly allow: boolean;
  readonly type?: 'a' | 'c' | 'b';
  readonly major?: number;
  readonly minor?: number;
  readonly access: string;
}

export interface OciResources {
  readonly devices: readonly OciDeviceRule[];
  readonly memory?: { readonly limit?: bigint; readonly swap?: bigint; readonly reservation?: bigint };
  readonly cpu?: {
    readonly shares?: bigint;
    readonly quota?: bigint;
    readonly period?: bigint;
    readonly cpus?: string;
    readonly mems?: string;
  };
  readonly pids?: { readonly limit: bigint };
  readonly hugepageLimits?: readonly { readonly pageSize: string; readonly limit: bigint }[];
  /** cgroup2 files; a runtime refuses them on cgroup v1. */
  readonly unified?: Readonly<Record<string, string>>;
}

export interface OciSeccomp {
  /** SCMP_ACT_… */
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  /** SCMP_ARCH_… */
  readonly architectures?: readonly string[];
  /** SECCOMP_FILTER_FLAG_… */
  readonly flags?: readonly string[];
  readonly syscalls?: readonly OciSyscall[];
}

export interface OciSyscall {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  /** All of them must hold. */
  readonly args?: readonly OciSyscallArgument[];
}

export interface OciSyscallArgument {
  readonly index: number;
  readonly value: bigint;
  readonly valueTwo?: bigint;
  /** SCMP_CMP_… */
  readonly op: string;
}

export interface OciLinux {
  readonly namespaces: readonly OciNamespace[];
  readonly uidMappings?: readonly OciIdMapping[];
  readonly gidMappings?: readonly OciIdMapping[];
  readonly devices: readonly OciDevice[];
  readonly cgroupsPath?: string;
  readonly resources: OciResources;
  readonly rootfsPropagation: string;
  readonly seccomp?: OciSeccomp;
  readonly maskedPaths: readonly string[];
  readonly readonlyPaths: readonly string[];
}

export interface OciSpec {
  readonly ociVersion: string;
  readonly process: OciProcess;
  readonly root: { readonly path: string; readonly readonly: boolean };
  readonly mounts: readonly OciMount[];
  readonly annotations: Readonly<Record<string, string>>;
  readonly linux: OciLinux;
}

/** JSON with every digit of its bigints: Go decodes limits as 64-bit integers, and a rounded 2^64 is one too much for it. */
export function encodeOciSpec(spec: OciSpec): string {
  const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown };
  return JSON.stringify(spec, (_key, part: unknown) => (typeof part === 'bigint' ? rawJSON(String(part)) : part), 2);
}
