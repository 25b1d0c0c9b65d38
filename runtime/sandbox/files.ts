// Owns the files that a sandbox gives its containers: resolv.conf, hosts, hostname, and the tmpfs for /dev/shm.
import fs from 'node:fs';
import path from 'node:path';
import type { DNSConfig, PodSandboxConfig } from '../../cri-proto/gen/api.ts';
import { hasCode } from '../linux/errno.ts';
import { syscall, trySyscall } from '../linux/syscall.ts';

const MS_NOSUID = 2;
const MS_NODEV = 4;
const MS_NOEXEC = 8;
const MNT_DETACH = 2;
const SHM_OPTIONS = 'mode=1777,size=65536k';

/** Host ids of who is root in the sandbox. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** resolv.conf(5) for a DNS config; an empty config has no lines of its own. */
export function renderResolvConf({ searches, servers, options }: DNSConfig): string {
  return [
    ...(searches.length > 0 ? [`search ${searches.join(' ')}`] : []),
    ...servers.map((server) => `nameserver ${server}`),
    ...(options.length > 0 ? [`options ${options.join(' ')}`] : []),
    '',
  ].join('\n');
}

/** hosts(5) of a sandbox that brings no hosts file of its own. */
export function renderHosts(hostname: string, ips: readonly string[]): string {
  const own = hostname === '' ? [] : ips.map((ip) => `${ip}\t${hostname}`);
  return ['127.0.0.1\tlocalhost', '::1\tlocalhost ip6-localhost ip6-loopback', ...own, ''].join('\n');
}

function isEmpty(dns: DNSConfig | undefined): boolean {
  return dns === undefined || dns.servers.length + dns.searches.length + dns.options.length === 0;
}

async function hostFile(name: string): Promise<string> {
  try {
    return await fs.promises.readFile(name, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return '';
    throw error;
  }
}

/** Writes the three files into `dir`. A sandbox in the host's network gets the host's names. */
export async function writeSandboxFiles(dir: string, config: PodSandboxConfig, hostNetwork: boolean, owner: Owner): Promise<void> {
  await fs.promises.mkdir(dir, { recursive: true, mode: 0o711 });
  const dns = config.dnsConfig;
  const write = async (name: string, text: string) => {
    await fs.promises.writeFile(path.join(dir, name), text, { mode: 0o644 });
    if (owner.uid !== 0 || owner.gid !== 0) await fs.promises.chown(path.join(dir, name), owner.uid, owner.gid);
  };
  await write('resolv.conf', dns === undefined || isEmpty(dns) ? await hostFile('/etc/resolv.conf') : renderResolvConf(dns));
  await write('hosts', hostNetwork ? await hostFile('/etc/hosts') : renderHosts(config.hostname, []));
  await write('hostname', hostNetwork ? await hostFile('/etc/hostname') : `${config.hostname}\n`);
}

/** Adds the sandbox's own name, once its addresses are known. The file stays the same inode: containers have it bind-mounted. */
export async function writeSandboxAddresses(dir: string, config: PodSandboxConfig, ips: readonly string[]): Promise<void> {
  await fs.promises.writeFile(path.join(dir, 'hosts'), renderHosts(config.hostname, ips), { mode: 0o644 });
}

/** Mounts the 64 MiB tmpfs that the containers of a sandbox share as /dev/shm. */
export function mountShm(target: string, { uid, gid }: Owner): void {
  fs.mkdirSync(target, { recursive: true, mode: 0o711 });
  syscall('mount', 'shm', target, 'tmpfs', MS_NOSUID | MS_NODEV | MS_NOEXEC, `${SHM_OPTIONS},uid=${uid},gid=${gid}`);
}

/** Absent is success. Detached, so that a container that still has it open does not keep the sandbox from going. */
export function unmountShm(target: string): void {
  const result = trySyscall('umount2', target, MNT_DETACH);
  if (result < 0 && result !== -2 && result !== -22) syscall('umount2', target, MNT_DETACH);
}

export async function removeSandboxFiles(dir: string): Promise<void> {
  unmountShm(path.join(dir, 'shm'));
  await fs.promises.rm(dir, { recursive: true, force: true });
}
