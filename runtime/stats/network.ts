// Owns reading the traffic of a sandbox's interfaces. The socket belongs to the sandbox's network namespace; it lives for one reading,
// since an open one would keep the namespace from going.
import fs from 'node:fs';
import { hasCode } from '../linux/errno.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../linux/netlink-socket.ts';
import { type LinkTraffic, linkHeader, parseLinkTraffic, RTM_GETLINK } from '../linux/rtnetlink.ts';

/** Every interface but loopback, in the kernel's order; undefined when the process has ended. */
export async function readTraffic(pid: number): Promise<readonly LinkTraffic[] | undefined> {
  let netns: number;
  try {
    netns = fs.openSync(`/proc/${pid}/ns/net`, 'r');
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ESRCH')) return undefined;
    throw error;
  }
  let socket: NetlinkSocket;
  try {
    socket = new NetlinkSocket(NETLINK_ROUTE, netns);
  } finally {
    fs.closeSync(netns);
  }
  try {
    const links = await socket.dump({ type: RTM_GETLINK, flags: 0, what: 'list links with their counters', body: linkHeader() });
    return links.map(parseLinkTraffic).filter((link): link is LinkTraffic => link !== undefined && link.name !== 'lo');
  } finally {
    socket.close();
  }
}
