// Owns limits of bandwidth: what is asked for, and the token buckets that hold it. Towards the container its packets queue on the host's
// end of its veth; away from it they take a way round over an ifb, since a link has no queue for what comes in.
import { createHash } from 'node:crypto';
import { hasCode } from '../runtime/linux/errno.ts';
import { NLM_F_CREATE, NLM_F_EXCL, type Request } from '../runtime/linux/netlink.ts';
import type { NetlinkSocket } from '../runtime/linux/netlink-socket.ts';
import { RTM_DELQDISC, RTM_GETQDISC, RTM_NEWQDISC, RTM_NEWTFILTER } from '../runtime/linux/rtnetlink.ts';
import type { Link } from '../runtime/linux/rtnetlink-link.ts';
import {
  encodeFilter,
  encodeQdisc,
  encodeQdiscDump,
  INGRESS_HANDLE,
  parseQdisc,
  type Qdisc,
  type QdiscDetails,
  TC_H_INGRESS,
  TC_H_ROOT,
  type TokenBucket,
} from '../runtime/linux/rtnetlink-traffic.ts';
import { addLink, deleteLink, getLink } from './link.ts';

/** Bits, as all the world gives bandwidth. Ingress is towards the container. */
export interface Bandwidth {
  readonly ingressRate?: number;
  readonly ingressBurst?: number;
  readonly egressRate?: number;
  readonly egressBurst?: number;
}

const ROOT_HANDLE = 0x10000;
/** How long a packet may wait for tokens before others are dropped behind it. */
const LATENCY_MS = 25;
/** A bucket for so long a time by default; never less than a full segment that the stack hands down at once. */
const BURST_MS = 20;
const MIN_BURST_BYTES = 64 * 1024;
const U32_MAX = 0xffffffff;
const ETHERNET_MTU = 1500;

/** Without a burst of its own, or with one that would let seconds of traffic pass unlimited, a bucket has the default depth. */
export function planTokenBucket(rateBits: number, burstBits: number | undefined): TokenBucket {
  const rateBytes = rateBits / 8;
  const fallback = Math.max(MIN_BURST_BYTES, Math.ceil((rateBytes * BURST_MS) / 1000));
  const asked = burstBits === undefined || burstBits === 0 || burstBits >= 2 ** 31 - 1 ? fallback : Math.floor(burstBits / 8);
  const burstBytes = Math.min(Math.max(asked, ETHERNET_MTU + 100), U32_MAX);
  const limitBytes = Math.min(Math.ceil((rateBytes * LATENCY_MS) / 1000) + burstBytes, U32_MAX);
  return { kind: 'tbf', rateBytesPerSecond: BigInt(Math.max(1, Math.floor(rateBytes))), burstBytes, limitBytes };
}

/** Derived from the host's end, so that it is found again without a record. */
export function ifbName(hostInterface: string): string {
  return `ifb${createHash('sha256').update(hostInterface).digest('hex').slice(0, 12)}`;
}

function addQdisc(link: Pick<Link, 'index' | 'name'>, parent: number, handle: number, details: QdiscDetails): Request {
  return {
    type: RTM_NEWQDISC,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    what: `add qdisc ${details.kind} to ${link.name}`,
    body: encodeQdisc({ linkIndex: link.index, parent, handle, details }),
  };
}

export async function listQdiscs(socket: NetlinkSocket): Promise<Qdisc[]> {
  return (await socket.dump({ type: RTM_GETQDISC, flags: 0, what: 'list qdiscs', body: encodeQdiscDump() })).map(parseQdisc);
}

/** Limits what passes the host's end of a container's veth; gives the ifb where one was made. */
export async function addBandwidth(host: NetlinkSocket, link: Link, bandwidth: Bandwidth): Promise<Link | undefined> {
  const { ingressRate, ingressBurst, egressRate, egressBurst } = bandwidth;
  if (ingressRate !== undefined) await host.request(addQdisc(link, TC_H_ROOT, ROOT_HANDLE, planTokenBucket(ingressRate, ingressBurst)));
  if (egressRate === undefined) return undefined;
  const name = ifbName(link.name);
  await host.request(addLink({ name, mtu: link.mtu, up: true, details: { kind: 'ifb' } }));
  const ifb = await getLink(host, name);
  await host.request(
    addQdisc(ifb, TC_H_ROOT, ROOT_HANDLE, planTokenBucket(egressRate, egressBurst)),
    addQdisc(link, TC_H_INGRESS, INGRESS_HANDLE, { kind: 'ingress' }),
    {
      type: RTM_NEWTFILTER,
      flags: NLM_F_CREATE | NLM_F_EXCL,
      what: `redirect what comes in by ${link.name} to ${name}`,
      body: encodeFilter({ linkIndex: link.index, parent: INGRESS_HANDLE, priority: 1, matches: [], redirectTo: ifb.index }),
    },
  );
  return ifb;
}

/** The qdiscs of the veth go with it; absent is success. */
export async function removeBandwidth(
  host: NetlinkSocket,
  link: Pick<Link, 'index' | 'name'> | undefined,
  hostInterface: string,
): Promise<void> {
  await deleteLink(ifbName(hostInterface));
  if (link === undefined) return;
  for (const parent of [TC_H_ROOT, TC_H_INGRESS])
    await host
      .request({
        type: RTM_DELQDISC,
        flags: 0,
        what: `delete the qdisc of ${link.name}`,
        body: encodeQdisc({ linkIndex: link.index, parent }),
      })
      .catch((error: unknown) => {
        if (!hasCode(error, 'ENOENT', 'EINVAL', 'ENODEV')) throw error;
      });
}

const suffixes: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
};
const MIN_RATE = 1e3;
const MAX_RATE = 1e15;

function parseRate(annotation: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?|\.\d+)([a-zA-Z]*)$/.exec(text.trim());
  const rate = Number(match?.[1]) * (suffixes[match?.[2] ?? '-'] ?? Number.NaN);
  if (!(rate >= MIN_RATE && rate <= MAX_RATE))
    throw new Error(`annotation ${annotation} "${text}": expected bits per second from 1k to 1P, such as 10M`);
  return Math.floor(rate);
}

/** What a pod's annotations ask for; undefined when they ask for nothing. */
export function bandwidthOf(annotations: Readonly<Record<string, string>>): Bandwidth | undefined {
  const rateOf = (direction: 'ingress' | 'egress') => {
    const name = `kubernetes.io/${direction}-bandwidth`;
    const text = annotations[name];
    return text === undefined ? {} : { [`${direction}Rate`]: parseRate(name, text) };
  };
  const bandwidth: Bandwidth = { ...rateOf('ingress'), ...rateOf('egress') };
  return Object.keys(bandwidth).length === 0 ? undefined : bandwidth;
}
