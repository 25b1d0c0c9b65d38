// Owns the nftables table of the CNI plugins. Many processes work on it, none of which lives on: it is made whole or not at all, what
// belongs to an attachment is told by a comment in the kernel, and nothing is kept on disk.
//
//   comment: <network, 8 hex><attachment, 16 hex> <words for people>
import { createHash } from 'node:crypto';
import { hasCode } from '../../runtime/linux/errno.ts';
import { attributeString, attributeText, listAttributes, NLM_F_EXCL, parseAttributes, type Request } from '../../runtime/linux/netlink.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../runtime/linux/netlink-socket.ts';
import { NFT_MSG_GETRULE, NFT_MSG_GETSETELEM, nftRequest, parseNftMessage, runBatch } from '../../runtime/linux/nfnetlink.ts';
import { type Cidr, type IpAddress, parseCidr } from '../ip.ts';
import { compare, ctStatus, hostU32, IPS_DST_NAT, mask } from '../nft-expression.ts';
import {
  addChain,
  addElements,
  addRule,
  addSet,
  addTable,
  commentOf,
  deleteElements,
  deleteRule,
  type Element,
  type Rule,
} from '../nft-message.ts';
import {
  chains,
  counted,
  dropped,
  type HostPort,
  hairpinRule,
  hostPortRules,
  interfaceIs,
  masqueraded,
  notOfAConnection,
  type Piece,
  planElements,
  rule,
  sets,
  toHost,
  within,
} from '../nft-table.ts';
import type { Attachment, PluginCall } from '../spec/plugin.ts';

export const TABLE = 'tskubelet_cni';
const LOCALHOST = parseCidr('127.0.0.0/8');
const MULTICAST = { 4: parseCidr('224.0.0.0/4'), 6: parseCidr('ff00::/8') } as const;
/** nft(8) reads no more of a comment. */
const COMMENT_BYTES = 127;
const NETWORK_DIGITS = 8;
const KEY_DIGITS = 24;

const hash = (text: string, digits: number): string => createHash('sha256').update(text).digest('hex').slice(0, digits);

const networkKey = (network: string): string => hash(network, NETWORK_DIGITS);

function attachmentKey(network: string, containerId: string, ifName: string): string {
  return networkKey(network) + hash(`${network} ${containerId} ${ifName}`, KEY_DIGITS - NETWORK_DIGITS);
}

function commentFor({ config, containerId, ifName }: PluginCall): string {
  return `${attachmentKey(config.name, containerId, ifName)} ${config.name} ${containerId} ${ifName}`.slice(0, COMMENT_BYTES);
}

const status = (text: string, operator: 'eq' | 'neq'): Piece => ({
  text,
  expressions: [ctStatus(), mask(hostU32(IPS_DST_NAT)), compare(operator, hostU32(0))],
});

/** What every hostPort shares. */
function planFixedRules(): Rule[] {
  return [
    ...['prerouting', 'output'].map((chain) => rule(chain, 'to an address of this host', toHost)),
    ...([4, 6] as const).flatMap(hostPortRules),
    rule('postrouting', 'localhost to a hostPort', within('source', LOCALHOST), status('ct status dnat', 'neq'), counted, masqueraded),
    ...([4, 6] as const).map(hairpinRule),
    // route_localnet, which hostPorts from localhost need, would let containers reach what listens there alone (CVE-2020-8558).
    ...(['destination', 'source'] as const).map((end) =>
      rule(
        'input',
        'localhost is for the host alone',
        interfaceIs('iifname', 'neq', 'lo'),
        within(end, LOCALHOST),
        notOfAConnection,
        status('ct status ! dnat', 'eq'),
        dropped,
      ),
    ),
  ];
}

function planTable(): Request[] {
  const table = addTable(TABLE);
  return [
    { ...table, flags: table.flags | NLM_F_EXCL },
    ...sets.map((set, i) => addSet(TABLE, set, i + 1)),
    ...chains.map(({ name, base }) => addChain(TABLE, name, base)),
    ...planFixedRules().map((rule) => addRule(TABLE, rule)),
  ];
}

async function withTable<T>(work: (socket: NetlinkSocket) => Promise<T>): Promise<T> {
  const socket = new NetlinkSocket(NETLINK_NETFILTER);
  try {
    return await work(socket);
  } finally {
    socket.close();
  }
}

/** Runs the requests on the table, which is made when it is missing. */
async function change(socket: NetlinkSocket, requests: readonly Request[]): Promise<void> {
  try {
    await runBatch(socket, requests);
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
    await runBatch(socket, planTable()).catch((raced: unknown) => {
      if (!hasCode(raced, 'EEXIST')) throw raced;
    });
    await runBatch(socket, requests);
  }
}

/** What leaves a network's addresses for another network takes the host's address. */
export function masqueradeRules(call: PluginCall, addresses: readonly { readonly address: IpAddress; readonly network: Cidr }[]): Rule[] {
  return addresses.map(({ address, network }) => {
    const { family } = network;
    const only: Cidr = { family, first: address.value, prefixLength: family === 4 ? 32 : 128 };
    return rule(
      'postrouting',
      commentFor(call),
      within('source', only),
      within('destination', network, 'neq'),
      within('destination', MULTICAST[family], 'neq'),
      counted,
      masqueraded,
    );
  });
}

export async function addMasquerade(rules: readonly Rule[]): Promise<void> {
  await withTable((socket) =>
    change(
      socket,
      rules.map((rule) => addRule(TABLE, rule)),
    ),
  );
}

interface Held {
  readonly comment: string;
  readonly remove: () => Request[];
  readonly set?: string;
  readonly element?: Element;
}

const isMissing = (error: unknown): boolean => hasCode(error, 'ENOENT', 'EPROTONOSUPPORT', 'EAFNOSUPPORT', 'EOPNOTSUPP');

/** Everything in the table that belongs to an attachment. */
async function listHeld(socket: NetlinkSocket): Promise<Held[]> {
  const held: Held[] = [];
  const table = attributeString(1, TABLE);
  try {
    for (const message of await socket.dump(nftRequest(NFT_MSG_GETRULE, 0, `list rules of ${TABLE}`, [table]))) {
      const attributes = parseNftMessage(message)?.attributes;
      const [name, chain, handle] = [attributes?.get(1), attributes?.get(2), attributes?.get(3)];
      const userData = attributes?.get(7);
      if (name === undefined || attributeText(name) !== TABLE || chain === undefined || handle === undefined || userData === undefined)
        continue;
      held.push({ comment: commentOf(userData), remove: () => [deleteRule(TABLE, attributeText(chain), handle.readBigUInt64BE(0))] });
    }
    for (const { name } of sets) {
      const request = nftRequest(NFT_MSG_GETSETELEM, 0, `list elements of ${name}`, [table, attributeString(2, name)]);
      for (const message of await socket.dump(request)) {
        const list = parseNftMessage(message)?.attributes.get(3) ?? Buffer.alloc(0);
        for (const { value } of listAttributes(list)) {
          const element = parseAttributes(value);
          const key = parseAttributes(element.get(1) ?? Buffer.alloc(0)).get(1);
          const userData = element.get(6);
          if (key === undefined || userData === undefined) continue;
          held.push({ comment: commentOf(userData), set: name, element: { key }, remove: () => deleteElements(TABLE, name, [{ key }]) });
        }
      }
    }
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
  return held;
}

async function removeWhere(isRemoved: (comment: string) => boolean): Promise<void> {
  await withTable(async (socket) => {
    // Once more when another process took part of it meanwhile.
    for (let attempt = 0; ; attempt++) {
      const requests = (await listHeld(socket)).filter(({ comment }) => isRemoved(comment)).flatMap(({ remove }) => remove());
      if (requests.length === 0) return;
      try {
        return await runBatch(socket, requests);
      } catch (error) {
        if (!hasCode(error, 'ENOENT') || attempt === 4) throw error;
      }
    }
  }).catch((error: unknown) => {
    if (!isMissing(error)) throw error;
  });
}

export function removeNat({ config, containerId, ifName }: PluginCall): Promise<void> {
  const key = attachmentKey(config.name, containerId, ifName);
  return removeWhere((comment) => comment.startsWith(key));
}

export function gcNat(network: string, valid: readonly Attachment[]): Promise<void> {
  const keys = new Set(valid.map(({ containerID, ifname }) => attachmentKey(network, containerID, ifname)));
  return removeWhere((comment) => comment.startsWith(networkKey(network)) && !keys.has(comment.slice(0, KEY_DIGITS)));
}

/** Whether the kernel holds something of the attachment: rules, or elements of a set. */
export async function hasNat({ config, containerId, ifName }: PluginCall, kind: 'rule' | 'element'): Promise<boolean> {
  const key = attachmentKey(config.name, containerId, ifName);
  const held = await withTable(listHeld);
  return held.some(({ comment, set }) => comment.startsWith(key) && (set === undefined) === (kind === 'rule'));
}

/** Makes the hostPorts lead to the container; throws who has one of them. */
export async function addHostPorts(call: PluginCall, hostPorts: readonly HostPort[], snat: boolean): Promise<void> {
  const comment = commentFor(call);
  const requests: Request[] = [];
  const wanted = planElements(hostPorts);
  for (const [set, elements] of wanted) {
    if (elements.size === 0 || (!snat && set.startsWith('hairpin'))) continue;
    const shared = set.startsWith('hairpin');
    requests.push(
      ...addElements(
        TABLE,
        set,
        [...elements.values()].map((element) => ({ ...element, comment })),
      ).map((request) => (shared ? request : { ...request, flags: request.flags | NLM_F_EXCL })),
    );
  }
  await withTable(async (socket) => {
    try {
      await change(socket, requests);
    } catch (error) {
      if (!hasCode(error, 'EEXIST')) throw error;
      const holder = (await listHeld(socket)).find(
        ({ set, element }) => set !== undefined && !set.startsWith('hairpin') && wanted.get(set)?.has(element?.key.toString('hex') ?? ''),
      );
      const [, network = '', containerId = ''] = holder?.comment.split(' ') ?? [];
      throw Object.assign(new Error(`a hostPort is taken by container ${containerId.slice(0, 12)} of network ${network}`), {
        code: 'EADDRINUSE',
      });
    }
  });
}
