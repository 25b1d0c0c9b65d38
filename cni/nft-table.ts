// Owns what tskubelet's nftables table says: masquerading and hostPorts, as data. Pure; nat.ts puts it into the kernel.
//
//   prerouting, output ── destination is this host ──▶ hostports ── port in a map ──▶ dnat to the pod
//   postrouting: pods to other networks, localhost to a hostPort, a pod to its own hostPort ──▶ masquerade
//
// A hostPort is an element of a map, not a rule: pods come and go without a change to any chain.
import type { Request } from '../runtime/linux/netlink.ts';
import { bitsOf, type Cidr, type Family, formatCidr, type IpAddress, ipBytes, parseCidr } from './ip.ts';
import { type Count, counter } from './nft-counter.ts';
import {
  CT_STATE_ESTABLISHED,
  CT_STATE_RELATED,
  compare,
  ctState,
  ctStatus,
  dnat,
  drop,
  type Expression,
  fibDaddrType,
  hostU32,
  IPS_DST_NAT,
  jump,
  lookup,
  mask,
  masquerade,
  meta,
  payload,
  RTN_LOCAL,
  returnVerdict,
  word,
} from './nft-expression.ts';
import {
  addChain,
  addRule,
  addSet,
  addTable,
  type BaseChain,
  concatenate,
  deleteTable,
  type Element,
  type Rule,
  type SetDefinition,
} from './nft-message.ts';

export interface TableConfig {
  readonly table: string;
  readonly bridge: string;
  readonly cidrs: readonly Cidr[];
  /** Networks that see pods by their own addresses. */
  readonly direct: readonly Cidr[];
  /** Families whose rules see what the bridge forwards by itself (br_netfilter). */
  readonly bridgeFilter: readonly Family[];
}

export interface HostPort {
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly hostPort: number;
  /** Absent: every address of the host. */
  readonly hostIp?: IpAddress;
  readonly address: IpAddress;
  readonly containerPort: number;
}

const protocolNumbers = { tcp: 6, udp: 17, sctp: 132 } as const;

const ADDRESS = { 4: 'ipv4_addr', 6: 'ipv6_addr' } as const;

const setsOf = (family: Family): SetDefinition[] => [
  { name: `hairpin${family}`, key: [ADDRESS[family], ADDRESS[family]] },
  { name: `hostport${family}`, key: ['inet_proto', 'inet_service'], data: [ADDRESS[family], 'inet_service'], counted: true },
  {
    name: `hostip${family}`,
    key: [ADDRESS[family], 'inet_proto', 'inet_service'],
    data: [ADDRESS[family], 'inet_service'],
    counted: true,
  },
];

export const sets: readonly SetDefinition[] = [...setsOf(4), ...setsOf(6)];

export const chains: readonly { readonly name: string; readonly base?: BaseChain }[] = [
  { name: 'hostports' },
  { name: 'prerouting', base: { type: 'nat', hook: 'prerouting', priority: -100 } },
  { name: 'output', base: { type: 'nat', hook: 'output', priority: -100 } },
  { name: 'postrouting', base: { type: 'nat', hook: 'postrouting', priority: 100 } },
  { name: 'input', base: { type: 'filter', hook: 'input', priority: 0 } },
];

/** What rules have counted, by ruleKey(). */
export type RuleCounts = ReadonlyMap<string, Count>;

/** Comments are unique in a chain, and stay what they are when a network changes. */
export const ruleKey = ({ chain, comment }: Pick<Rule, 'chain' | 'comment'>): string => `${chain}: ${comment}`;

/** The table without elements, in place of what was there: one transaction. Its rules go on counting from `counts`. */
export function planTable(config: TableConfig, counts: RuleCounts = new Map()): Request[] {
  const { table } = config;
  return [
    // Deleting needs it to exist.
    addTable(table),
    deleteTable(table),
    addTable(table),
    ...sets.map((set, i) => addSet(table, set, i + 1)),
    ...chains.map(({ name, base }) => addChain(table, name, base)),
    ...planRules(config).map((rule) => addRule(table, rule, counts.get(ruleKey(rule)))),
  ];
}

const LOOPBACK = parseCidr('127.0.0.0/8');

/** A piece of a rule: as nft(8) lists it, and as the kernel takes it. */
export interface Piece {
  readonly text: string;
  readonly expressions: readonly Expression[];
}

export function rule(chain: string, comment: string, ...pieces: readonly Piece[]): Rule {
  const text = pieces.flatMap((piece) => piece.text || []).join(' ');
  return { chain, comment, text, expressions: pieces.flatMap(({ expressions }) => expressions) };
}

export function planRules({ bridge, cidrs, direct, bridgeFilter }: TableConfig): Rule[] {
  return [
    ...['prerouting', 'output'].map((chain) => rule(chain, 'to an address of this host', toHost)),
    ...([4, 6] as const).flatMap(hostPortRules),
    rule('postrouting', 'localhost to a hostPort', within('source', LOOPBACK), interfaceIs('oifname', 'eq', bridge), counted, masqueraded),
    ...([4, 6] as const).map(hairpinRule),
    // The answer of a pod to another of the same bridge would go there at once, past the connection that must translate it back.
    ...cidrs
      .filter(({ family }) => !bridgeFilter.includes(family))
      .map((cidr) =>
        rule(
          'postrouting',
          `pods to each other's hostPorts, IPv${cidr.family}`,
          within('source', cidr),
          interfaceIs('oifname', 'eq', bridge),
          translated,
          counted,
          masqueraded,
        ),
      ),
    ...cidrs.flatMap((cidr) =>
      direct
        .filter(({ family }) => family === cidr.family)
        .map((network) =>
          rule(
            'postrouting',
            `pods to ${formatCidr(network)}, which knows them`,
            within('source', cidr),
            within('destination', network),
            counted,
            returned,
          ),
        ),
    ),
    ...cidrs.map((cidr) =>
      rule(
        'postrouting',
        `pods to other networks, IPv${cidr.family}`,
        within('source', cidr),
        interfaceIs('oifname', 'neq', bridge),
        counted,
        masqueraded,
      ),
    ),
    // route_localnet on the bridge would let a pod reach what listens on 127.0.0.1 alone (CVE-2020-8558), or pass for a local client.
    ...(['destination', 'source'] as const).map((end) =>
      rule(
        'input',
        end === 'destination' ? 'pods stay out of localhost' : 'pods do not pass for localhost',
        interfaceIs('iifname', 'eq', bridge),
        within(end, LOOPBACK),
        notOfAConnection,
        counted,
        dropped,
      ),
    ),
  ];
}

export const toHost: Piece = {
  text: 'fib daddr type local jump hostports',
  expressions: [fibDaddrType(), compare('eq', hostU32(RTN_LOCAL)), jump('hostports')],
};
/** Chains of NAT see the first packet of a connection alone: there it is connections that are counted. */
export const counted: Piece = { text: 'counter', expressions: [counter()] };
export const masqueraded: Piece = { text: 'masquerade', expressions: [masquerade] };
const translated: Piece = {
  text: 'ct status dnat',
  expressions: [ctStatus(), mask(hostU32(IPS_DST_NAT)), compare('neq', hostU32(0))],
};
const returned: Piece = { text: 'return', expressions: [returnVerdict] };
export const dropped: Piece = { text: 'drop', expressions: [drop] };
export const notOfAConnection: Piece = {
  text: 'ct state ! established,related',
  expressions: [ctState(), mask(hostU32(CT_STATE_ESTABLISHED | CT_STATE_RELATED)), compare('eq', hostU32(0))],
};

const NFPROTO = { 4: 2, 6: 10 } as const;
const isFamily = (family: Family): Expression[] => [meta('nfproto'), compare('eq', Buffer.of(NFPROTO[family]))];

/** Offset of an address in the IP header. */
const offsets = { 4: { source: 12, destination: 16 }, 6: { source: 8, destination: 24 } } as const;
const address = (family: Family, which: 'source' | 'destination', into: number): Expression =>
  payload('network', offsets[family][which], bitsOf(family) / 8, into);

export function within(which: 'source' | 'destination', cidr: Cidr, operator: 'eq' | 'neq' = 'eq'): Piece {
  const { family, first, prefixLength } = cidr;
  const bits = BigInt(bitsOf(family));
  const ones = ((1n << bits) - 1n) ^ ((1n << (bits - BigInt(prefixLength))) - 1n);
  return {
    text: `${PROTOCOL[family]} ${which === 'source' ? 'saddr' : 'daddr'} ${operator === 'eq' ? '' : '!= '}${formatCidr(cidr)}`,
    expressions: [
      ...isFamily(family),
      address(family, which, 1),
      mask(ipBytes({ family, value: ones })),
      compare(operator, ipBytes({ family, value: first })),
    ],
  };
}

export function interfaceIs(key: 'iifname' | 'oifname', operator: 'eq' | 'neq', name: string): Piece {
  // The register holds all of IFNAMSIZ.
  const bytes = Buffer.alloc(16);
  bytes.write(name);
  return { text: `${key} ${operator === 'eq' ? '' : '!= '}"${name}"`, expressions: [meta(key), compare(operator, bytes)] };
}

/** Destination ports of TCP, UDP and SCTP stand at the same place. */
const destinationPort = (into: number): Expression => payload('transport', 2, 2, into);

const PROTOCOL = { 4: 'ip', 6: 'ip6' } as const;

// The map's data replaces the key: the address in NFT_REG_1, the port in the register after it.
export const hostPortRules = (family: Family): Rule[] => {
  const words = family === 4 ? 1 : 4;
  const translate = dnat(family, word(0), word(words));
  const ip = PROTOCOL[family];
  return [
    rule('hostports', `hostPort of one IPv${family} address`, {
      text: `dnat ${ip} to ${ip} daddr . meta l4proto . th dport map @hostip${family}`,
      expressions: [
        ...isFamily(family),
        address(family, 'destination', 1),
        meta('l4proto', word(words)),
        destinationPort(word(words + 1)),
        lookup(`hostip${family}`, 1, 1),
        translate,
      ],
    }),
    rule('hostports', `hostPort of every IPv${family} address`, {
      text: `meta nfproto ipv${family} dnat ${ip} to meta l4proto . th dport map @hostport${family}`,
      expressions: [...isFamily(family), meta('l4proto', word(0)), destinationPort(word(1)), lookup(`hostport${family}`, 1, 1), translate],
    }),
  ];
};

export const hairpinRule = (family: Family): Rule =>
  rule('postrouting', `a pod to its own hostPort, IPv${family}`, {
    text: `${PROTOCOL[family]} saddr . ${PROTOCOL[family]} daddr @hairpin${family} counter masquerade`,
    expressions: [
      ...isFamily(family),
      address(family, 'source', word(0)),
      address(family, 'destination', family === 4 ? word(1) : 2),
      lookup(`hairpin${family}`, 1),
      counter(),
      masquerade,
    ],
  });

const portBytes = (port: number): Buffer => Buffer.of(port >> 8, port & 0xff);

/** Elements of every set, by set and by their key in hex. */
export type Elements = ReadonlyMap<string, ReadonlyMap<string, Element>>;

export function planElements(hostPorts: readonly HostPort[]): Elements {
  const elements = new Map(sets.map(({ name }) => [name, new Map<string, Element>()]));
  const put = ({ set, element }: Place) => elements.get(set)?.set(element.key.toString('hex'), element);
  for (const hostPort of hostPorts) {
    const { address: target } = hostPort;
    const bytes = ipBytes(target);
    put({ set: `hairpin${target.family}`, element: { key: concatenate(bytes, bytes) } });
    put(hostPortPlace(hostPort));
  }
  return elements;
}

export interface Place {
  readonly set: string;
  readonly element: Element;
}

export function hostPortPlace({ protocol, hostPort, hostIp, address: target, containerPort }: HostPort): Place {
  const service = [Buffer.of(protocolNumbers[protocol]), portBytes(hostPort)];
  const data = concatenate(ipBytes(target), portBytes(containerPort));
  return hostIp === undefined
    ? { set: `hostport${target.family}`, element: { key: concatenate(...service), data } }
    : { set: `hostip${target.family}`, element: { key: concatenate(ipBytes(hostIp), ...service), data } };
}

export interface ElementChange {
  readonly set: string;
  readonly added: readonly Element[];
  readonly deleted: readonly Element[];
}

/** The same elements, which go on counting where they lead to what they led to. */
export function continueCounts(elements: Elements, before: Elements): Elements {
  const continued = (set: string, key: string, element: Element): Element => {
    const old = before.get(set)?.get(key);
    const same = element.data !== undefined && old?.data?.equals(element.data) === true;
    return same && old.count !== undefined ? { ...element, count: old.count } : element;
  };
  return new Map([...elements].map(([set, all]) => [set, new Map([...all].map(([key, one]) => [key, continued(set, key, one)]))]));
}

/** From what is there to what should be. A changed element is deleted and added: the kernel refuses other data for a key. */
export function planChanges(present: Elements, wanted: Elements): ElementChange[] {
  return sets.flatMap(({ name }) => {
    const there = present.get(name) ?? new Map<string, Element>();
    const should = wanted.get(name) ?? new Map<string, Element>();
    const same = (a: Element | undefined, b: Element) => a !== undefined && (a.data ?? a.key).equals(b.data ?? b.key);
    const added = [...should].filter(([key, element]) => !same(there.get(key), element)).map(([, element]) => element);
    const deleted = [...there]
      .filter(([key, element]) => {
        const other = should.get(key);
        return other === undefined || !same(other, element);
      })
      .map(([, element]) => element);
    return added.length + deleted.length === 0 ? [] : [{ set: name, added, deleted }];
  });
}
