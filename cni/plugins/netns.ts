// Owns a call's network namespace for its plugin: the descriptor, rtnetlink inside and outside, and the settings of the namespace.
import fs from 'node:fs';
import { hasCode } from '../../runtime/linux/errno.ts';
import { openInNetns } from '../../runtime/linux/in-process.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../runtime/linux/netlink-socket.ts';
import { CniError, INVALID_ENVIRONMENT, UNKNOWN_CONTAINER } from '../spec/error.ts';
import type { PluginCall } from '../spec/plugin.ts';

export interface Namespaces {
  readonly host: NetlinkSocket;
  readonly sandbox: NetlinkSocket;
  readonly netnsFd: number;
}

function open(netns: string): number {
  if (netns === '') throw new CniError(INVALID_ENVIRONMENT, 'CNI_NETNS is empty: it names the network namespace');
  const fd = fs.openSync(netns, 'r');
  // The host's own namespace would be configured as if it were a container's.
  if (fs.fstatSync(fd).ino === fs.statSync('/proc/self/ns/net').ino) {
    fs.closeSync(fd);
    throw new CniError(INVALID_ENVIRONMENT, `${netns} is the network namespace of the host`);
  }
  return fd;
}

/** Opens both sides for the work, and closes them after it. */
export async function withNamespaces<T>({ netns }: Pick<PluginCall, 'netns'>, work: (namespaces: Namespaces) => Promise<T>): Promise<T> {
  let netnsFd: number;
  try {
    netnsFd = open(netns);
  } catch (cause) {
    if (cause instanceof CniError) throw cause;
    throw new CniError(UNKNOWN_CONTAINER, `open network namespace ${netns}`, { cause });
  }
  const host = new NetlinkSocket(NETLINK_ROUTE);
  let sandbox: NetlinkSocket | undefined;
  try {
    sandbox = new NetlinkSocket(NETLINK_ROUTE, netnsFd);
    return await work({ host, sandbox, netnsFd });
  } finally {
    sandbox?.close();
    host.close();
    fs.closeSync(netnsFd);
  }
}

/** For DEL: nothing is done when the namespace is gone, or was never named. */
export async function withNamespacesIfThere({ netns }: PluginCall, work: (namespaces: Namespaces) => Promise<void>): Promise<void> {
  if (netns === '') return;
  try {
    await withNamespaces({ netns }, work);
  } catch (error) {
    const { cause } = error as Error;
    if (!(error instanceof CniError && error.code === UNKNOWN_CONTAINER && hasCode(cause, 'ENOENT', 'ENOTDIR', 'ESRCH', 'EINVAL')))
      throw error;
  }
}

function sysctlFile(name: string): string {
  return `/proc/sys/${name.includes('/') ? name : name.replaceAll('.', '/')}`;
}

/** A setting of the namespace, by its name with dots, or with slashes where an interface's name has a dot. */
export function writeSysctl(netnsFd: number, name: string, value: string): void {
  let fd: number | undefined;
  try {
    fd = openInNetns(netnsFd, sysctlFile(name), fs.constants.O_WRONLY);
    fs.writeSync(fd, value);
  } catch (cause) {
    throw new Error(`set ${name} to ${value}`, { cause });
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}

export function readSysctl(netnsFd: number, name: string): string {
  const fd = openInNetns(netnsFd, sysctlFile(name), fs.constants.O_RDONLY);
  try {
    const bytes = Buffer.alloc(4096);
    return bytes.toString('utf8', 0, fs.readSync(fd, bytes)).trim();
  } finally {
    fs.closeSync(fd);
  }
}
