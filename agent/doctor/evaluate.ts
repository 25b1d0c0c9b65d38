// Judges facts: each requirement a row, in the order in which a newcomer should fix them. Pure.
import { cgroupProblem } from '../../runtime/cgroup/root.ts';
import { type Facts, namespaceKinds } from './facts.ts';

/** degraded: tskubelet runs, and the consequence says what it then does not do. missing: it cannot run pods. */
export type State = 'ok' | 'degraded' | 'missing';

export interface Row {
  readonly name: string;
  readonly state: State;
  /** What was found. */
  readonly finding: string;
  /** What follows and what to do; empty when all is well. */
  readonly consequence: string;
}

type Check = (facts: Facts) => Row | readonly Row[];

const ok = (name: string, finding: string): Row => ({ name, state: 'ok', finding, consequence: '' });
const degraded = (name: string, finding: string, consequence: string): Row => ({ name, state: 'degraded', finding, consequence });
const missing = (name: string, finding: string, consequence: string): Row => ({ name, state: 'missing', finding, consequence });

// statfs(2) f_type
const TMPFS_MAGIC = 0x01021994;
const RAMFS_MAGIC = 0x858458f6;
const OVERLAYFS_SUPER_MAGIC = 0x794c7630;
const HOSTFS_SUPER_MAGIC = 0x00c0ffee;
const V9FS_MAGIC = 0x01021997;
const NFS_SUPER_MAGIC = 0x6969;
const NO_OVERLAY_UPPER = new Map([
  [OVERLAYFS_SUPER_MAGIC, 'overlayfs'],
  [HOSTFS_SUPER_MAGIC, 'hostfs'],
  [V9FS_MAGIC, '9p'],
  [NFS_SUPER_MAGIC, 'NFS'],
]);

const MINIMUM_KERNEL = [5, 15] as const;
const MINIMUM_NODE = 24;
const LITTLE_SPACE_BYTES = 2n * 1024n ** 3n;
const NO_SPACE_BYTES = 256n * 1024n ** 2n;

/** capability.h numbers of what the daemon itself uses; without one of the first list no container starts. */
const NEEDED_CAPABILITIES: readonly (readonly [string, number])[] = [
  ['CAP_SYS_ADMIN', 21],
  ['CAP_NET_ADMIN', 12],
  ['CAP_SYS_PTRACE', 19],
  ['CAP_SYS_CHROOT', 18],
  ['CAP_SETUID', 7],
  ['CAP_SETGID', 6],
  ['CAP_SETPCAP', 8],
  ['CAP_CHOWN', 0],
  ['CAP_DAC_OVERRIDE', 1],
  ['CAP_FOWNER', 3],
  ['CAP_KILL', 5],
];

export function kernelVersion(release: string): readonly [major: number, minor: number] {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(release) ?? [];
  return [Number(major ?? 0), Number(minor ?? 0)];
}

function checkKernel({ kernelRelease }: Facts): Row {
  const [major, minor] = kernelVersion(kernelRelease);
  const [wantedMajor, wantedMinor] = MINIMUM_KERNEL;
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)
    ? ok('kernel', `Linux ${kernelRelease}`)
    : missing('kernel', `Linux ${kernelRelease}`, `tskubelet needs Linux ${MINIMUM_KERNEL.join('.')}; use a newer kernel`);
}

function checkCalls({ missingCalls }: Facts): Row {
  return missingCalls.length === 0
    ? ok('system calls', 'clone3, pidfds and the mount calls are there')
    : missing(
        'system calls',
        `${missingCalls.join(', ')} refused`,
        'containers cannot start; in a container, run it privileged (without a seccomp filter)',
      );
}

function checkNode({ nodeVersion, architecture }: Facts): Row {
  if (architecture !== 'x64' && architecture !== 'arm64')
    return missing('node', `Node ${nodeVersion} on ${architecture}`, 'there are stubs for x86_64 and aarch64 only');
  return Number.parseInt(nodeVersion, 10) >= MINIMUM_NODE
    ? ok('node', `Node ${nodeVersion}`)
    : missing('node', `Node ${nodeVersion}`, `tskubelet needs Node ${MINIMUM_NODE}; start it by bin/tskubelet, which brings its own`);
}

function checkPrivileges({ effectiveUid, capabilities }: Facts): Row[] {
  const root =
    effectiveUid === 0
      ? ok('root', 'running as root')
      : missing('root', `running as user ${effectiveUid}`, 'only root may start containers; use sudo');
  const has = (bit: number) => ((capabilities >> BigInt(bit)) & 1n) === 1n;
  const lacking = NEEDED_CAPABILITIES.filter(([, bit]) => !has(bit)).map(([name]) => name);
  if (lacking.length > 0)
    return [root, missing('capabilities', `without ${lacking.join(', ')}`, 'containers cannot start; in a container, run it privileged')];
  if (!has(24))
    return [
      root,
      degraded(
        'capabilities',
        'without CAP_SYS_RESOURCE',
        'limits of a process cannot be raised above those of the daemon, nor its oom_score_adj lowered',
      ),
    ];
  return [root, ok('capabilities', 'all that containers need')];
}

const NAMESPACE_LOSS = {
  user: 'pods with hostUsers: false are refused',
  time: 'pods that ask for a time offset are refused',
} as const;

function checkNamespaces({ namespaces }: Facts): Row[] {
  return namespaceKinds.map((kind) => {
    const name = `${kind} namespace`;
    const limit = namespaces[kind];
    const finding = limit === undefined ? 'not in this kernel' : limit === 0 ? `forbidden (user.max_${kind}_namespaces is 0)` : 'available';
    if (limit !== undefined && limit > 0) return ok(name, finding);
    return kind === 'user' || kind === 'time'
      ? degraded(name, finding, NAMESPACE_LOSS[kind])
      : missing(
          name,
          finding,
          limit === 0 ? `pods cannot start; raise the sysctl user.max_${kind}_namespaces` : 'pods cannot start; use a kernel that has it',
        );
  });
}

const CONTROLLERS: readonly (readonly [controller: string, v1: string | undefined, loss: string])[] = [
  ['cpu', 'cpu', 'CPU requests and limits do not hold'],
  ['memory', 'memory', 'memory limits do not hold'],
  ['pids', 'pids', 'limits on the number of processes do not hold'],
  ['cpuset', 'cpuset', 'containers cannot be bound to CPUs'],
  ['io', 'blkio', 'I/O limits do not hold'],
  ['hugetlb', 'hugetlb', 'limits on huge pages do not hold'],
];

function checkCgroups({ cgroup, cgroup: { mode, unifiedControllers, v1 } }: Facts): Row[] {
  const problem = cgroupProblem(cgroup);
  if (problem !== undefined) return [missing('cgroups', mode === 'none' ? 'not mounted' : 'read-only', problem)];
  const hierarchy =
    mode === 'unified'
      ? ok('cgroups', `cgroup2 at ${cgroup.unified}`)
      : mode === 'hybrid'
        ? ok('cgroups', `hybrid: cgroup2 at ${cgroup.unified}, controllers on v1`)
        : degraded(
            'cgroups',
            'cgroup v1 only',
            'containers are killed process by process; boot with systemd.unified_cgroup_hierarchy=1 for cgroup2',
          );
  const rows = CONTROLLERS.map(([controller, onV1, loss]) => {
    const name = `cgroup ${controller}`;
    if (unifiedControllers.includes(controller)) return ok(name, 'v2');
    if (onV1 === undefined || v1[onV1] === undefined) return degraded(name, 'no such controller', loss);
    if (controller !== 'memory') return ok(name, 'v1');
    return degraded(
      name,
      'v1',
      'memory.min, memory.low and memory.high cannot be expressed; after an OOM kill tskubelet ends the rest of the container itself',
    );
  });
  return [hierarchy, ...rows];
}

function checkOverlay({ overlay, root }: Facts): Row {
  if (overlay === 'absent')
    return missing('overlayfs', 'not in this kernel', 'containers cannot have a root filesystem; use a kernel with CONFIG_OVERLAY_FS');
  const upper = NO_OVERLAY_UPPER.get(root.fileSystem.type);
  return upper === undefined
    ? ok('overlayfs', `usable on ${root.wanted}`)
    : degraded(
        'overlayfs',
        `${root.wanted} is on ${upper}, which cannot be its upper layer`,
        'what containers write is kept in memory; choose a --root-dir on ext4 or xfs, or on a volume',
      );
}

function checkNfTables({ nfTables }: Facts): Row {
  const loss = 'pods reach each other and this host, but nothing beyond it, and hostPorts do not work (no NAT)';
  if (nfTables === 'usable') return ok('nf_tables', 'usable');
  if (nfTables === 'EPERM') return degraded('nf_tables', 'not permitted (CAP_NET_ADMIN)', loss);
  return degraded('nf_tables', `no nat chains in this kernel (${nfTables})`, `${loss}; load the modules nf_tables and nft_chain_nat`);
}

function checkForwarding({ ipForward }: Facts): Row {
  if (ipForward.on) return ok('ip forwarding', 'on');
  return ipForward.writable
    ? ok('ip forwarding', 'off; switched on at start')
    : degraded(
        'ip forwarding',
        'off, and /proc/sys is read-only',
        'pods reach nothing beyond this host; set the sysctl net.ipv4.ip_forward=1',
      );
}

function checkMemfd({ memfdNoexec }: Facts): Row {
  if (memfdNoexec === 2)
    return degraded(
      'memfd_noexec',
      'vm.memfd_noexec is 2: no executable memory files',
      'the stub is executed from a file in a tmpfs that is mounted nowhere',
    );
  return ok('memfd_noexec', memfdNoexec === undefined ? 'not in this kernel' : `vm.memfd_noexec is ${memfdNoexec}`);
}

function checkSeccomp({ seccompFilter }: Facts): Row {
  return seccompFilter
    ? ok('seccomp', 'filters available')
    : degraded('seccomp', 'no filters in this kernel', 'pods with seccompProfile RuntimeDefault are refused; others run unconfined');
}

const mebibytes = (bytes: bigint) => (bytes >= 10n * 1024n ** 3n ? `${bytes / 1024n ** 3n} GiB` : `${bytes / 1024n ** 2n} MiB`);

function checkSpace({ root: { wanted, fileSystem } }: Facts): Row {
  const finding = `${mebibytes(fileSystem.freeBytes)} free on ${wanted}`;
  if (fileSystem.freeBytes < NO_SPACE_BYTES)
    return missing('free space', finding, 'images cannot be unpacked; free some space or choose another --root-dir');
  if (fileSystem.freeBytes < LITTLE_SPACE_BYTES)
    return degraded('free space', finding, 'larger images will not fit; free some space or choose another --root-dir');
  return ok('free space', finding);
}

function checkRunDir({ run: { wanted, fileSystem } }: Facts): Row {
  return fileSystem.type === TMPFS_MAGIC || fileSystem.type === RAMFS_MAGIC
    ? ok('run-dir', `${wanted} is in memory`)
    : degraded(
        'run-dir',
        `${wanted} is not a tmpfs`,
        'logging costs disk writes and the state of ended containers outlives a reboot; choose a --run-dir on a tmpfs, such as /dev/shm/tskubelet',
      );
}

const checks: readonly Check[] = [
  checkKernel,
  checkNode,
  checkPrivileges,
  checkCalls,
  checkNamespaces,
  checkCgroups,
  checkOverlay,
  checkNfTables,
  checkForwarding,
  checkMemfd,
  checkSeccomp,
  checkSpace,
  checkRunDir,
];

/** One row per requirement. Some `missing`: tskubelet cannot run pods here. */
export function evaluate(facts: Facts): Row[] {
  return checks.flatMap((check) => check(facts));
}
