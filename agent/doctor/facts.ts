// Gathers what evaluate.ts judges. Looks only: nothing on the machine is changed, and what cannot be read is a fact of its own.
import fs from 'node:fs';
import path from 'node:path';
import type { CgroupHost } from '../../runtime/cgroup/cgroup.ts';
import { detectCgroupHost } from '../../runtime/cgroup/host.ts';
import { hasCode } from '../../runtime/linux/errno.ts';
import { attributeBe32, attributeString, NLM_F_CREATE, nested } from '../../runtime/linux/netlink.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../runtime/linux/netlink-socket.ts';
import { NFT_MSG_NEWCHAIN, NFT_MSG_NEWTABLE, nftBatch, nftRequest } from '../../runtime/linux/nfnetlink.ts';
import type { SyscallName } from '../../runtime/linux/numbers.ts';
import { trySyscall } from '../../runtime/linux/syscall.ts';

export const namespaceKinds = ['mnt', 'pid', 'net', 'ipc', 'uts', 'cgroup', 'user', 'time'] as const;
export type NamespaceKind = (typeof namespaceKinds)[number];

/** Calls that the runtime makes and that older kernels, or seccomp filters around us, do not have. */
export const probedCalls = [
  'clone3',
  'pidfd_open',
  'pidfd_getfd',
  'openat2',
  'open_tree',
  'fsopen',
  'mount_setattr',
  'close_range',
] as const;

export interface FileSystem {
  /** The nearest existing directory on the way to the one that was asked about. */
  readonly directory: string;
  /** statfs(2) f_type. */
  readonly type: number;
  readonly freeBytes: bigint;
}

export interface Facts {
  /** uname -r */
  readonly kernelRelease: string;
  readonly architecture: string;
  readonly nodeVersion: string;
  readonly effectiveUid: number;
  /** CapEff of /proc/self/status. */
  readonly capabilities: bigint;
  /** How many namespaces of a kind a user may have; absent: the kernel has none of that kind. */
  readonly namespaces: Readonly<Partial<Record<NamespaceKind, number>>>;
  /** Names of probed calls that answer ENOSYS, or EPERM where a seccomp filter stands before them. */
  readonly missingCalls: readonly string[];
  readonly cgroup: CgroupHost;
  /** loadable: the module is there, and the first mount loads it. */
  readonly overlay: 'present' | 'loadable' | 'absent';
  /** "usable", or the errno name that nf_tables' inet nat chains were refused with. */
  readonly nfTables: string;
  /** vm.memfd_noexec; absent before Linux 6.3. */
  readonly memfdNoexec?: number;
  readonly seccompFilter: boolean;
  /** net.ipv4.ip_forward, and whether it could be written. */
  readonly ipForward: { readonly on: boolean; readonly writable: boolean };
  readonly root: { readonly wanted: string; readonly fileSystem: FileSystem };
  readonly run: { readonly wanted: string; readonly fileSystem: FileSystem };
}

export async function gatherFacts(settings: { readonly rootDir: string; readonly runDir: string }): Promise<Facts> {
  const memfdNoexec = readText('/proc/sys/vm/memfd_noexec');
  return {
    kernelRelease: readText('/proc/sys/kernel/osrelease')?.trim() ?? '',
    architecture: process.arch,
    nodeVersion: process.versions.node,
    effectiveUid: process.geteuid?.() ?? -1,
    capabilities: BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(readText('/proc/self/status') ?? '')?.[1] ?? '0'}`),
    namespaces: readNamespaces(),
    missingCalls: probeCalls(),
    cgroup: detectCgroupHost(),
    overlay: findOverlay(),
    nfTables: await probeNfTables(),
    ...(memfdNoexec === undefined ? {} : { memfdNoexec: Number(memfdNoexec) }),
    seccompFilter: (readText('/proc/sys/kernel/seccomp/actions_avail') ?? '').includes('errno'),
    ipForward: { on: readText('/proc/sys/net/ipv4/ip_forward')?.trim() === '1', writable: mayWrite('/proc/sys/net/ipv4/ip_forward') },
    root: { wanted: settings.rootDir, fileSystem: readFileSystem(settings.rootDir) },
    run: { wanted: settings.runDir, fileSystem: readFileSystem(settings.runDir) },
  };
}

function readText(file: string): string | undefined {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

function mayWrite(file: string): boolean {
  try {
    fs.accessSync(file, fs.constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function readNamespaces(): Partial<Record<NamespaceKind, number>> {
  const found: Partial<Record<NamespaceKind, number>> = {};
  for (const kind of namespaceKinds)
    if (fs.existsSync(`/proc/self/ns/${kind}`))
      found[kind] = Number(readText(`/proc/sys/user/max_${kind}_namespaces`) ?? Number.POSITIVE_INFINITY);
  return found;
}

function findOverlay(): Facts['overlay'] {
  if (/\toverlay$/m.test(readText('/proc/filesystems') ?? '')) return 'present';
  const release = readText('/proc/sys/kernel/osrelease')?.trim() ?? '';
  return /\/overlay\.ko/.test(readText(`/lib/modules/${release}/modules.dep`) ?? '') ? 'loadable' : 'absent';
}

// Arguments that no kernel accepts: where the call exists it says EINVAL, EBADF or EFAULT.
const refusedArguments: Record<(typeof probedCalls)[number], readonly number[]> = {
  clone3: [0, 0],
  pidfd_open: [-1, 0],
  pidfd_getfd: [-1, -1, 0],
  openat2: [-1, 0, 0, 0],
  open_tree: [-1, 0, -1],
  fsopen: [0, -1],
  mount_setattr: [-1, 0, -1, 0, 0],
  close_range: [2, 1, 0],
};

function probeCalls(): string[] {
  const ENOSYS = -38;
  // Not ours to be refused for privileges: as root without a filter none of these arguments gets that far.
  const EPERM = process.geteuid?.() === 0 ? -1 : Number.NaN;
  return probedCalls.filter((name) => {
    const result = trySyscall(name satisfies SyscallName, ...refusedArguments[name]);
    return result === ENOSYS || result === EPERM;
  });
}

/**
 * Asks for a table with a nat chain in a batch that lacks its end, so that the kernel checks everything and keeps nothing
 * (nfnetlink_rcv_batch aborts what is not ended).
 */
async function probeNfTables(): Promise<string> {
  let socket: NetlinkSocket | undefined;
  try {
    socket = new NetlinkSocket(NETLINK_NETFILTER);
    const table = 'tskubelet-doctor';
    const NF_INET_POST_ROUTING = 4;
    const hook = nested(4, [attributeBe32(1, NF_INET_POST_ROUTING), attributeBe32(2, 100)]);
    const batch = nftBatch([
      nftRequest(NFT_MSG_NEWTABLE, NLM_F_CREATE, 'probe a table', [attributeString(1, table)]),
      nftRequest(NFT_MSG_NEWCHAIN, NLM_F_CREATE, 'probe a nat chain', [
        attributeString(1, table),
        attributeString(3, 'postrouting'),
        hook,
        attributeString(7, 'nat'),
      ]),
    ]);
    const { errors } = await socket.exchange(batch.slice(0, -1));
    return errors[0] === undefined ? 'usable' : errors[0].code;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown';
  } finally {
    socket?.close();
  }
}

function readFileSystem(wanted: string): FileSystem {
  for (let directory = path.resolve(wanted); ; directory = path.dirname(directory)) {
    try {
      const { type, bavail, bsize } = fs.statfsSync(directory, { bigint: true });
      return { directory, type: Number(type), freeBytes: bavail * bsize };
    } catch (error) {
      if (!hasCode(error, 'ENOENT', 'ENOTDIR') || directory === '/') throw error;
    }
  }
}
