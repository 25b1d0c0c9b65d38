// Owns rtnetlink's links as values: what a link is made of or changed to, what the kernel says of it, and the VLANs of bridge ports. Pure.
import {
  type Attribute,
  attribute,
  attributeBe16,
  attributeString,
  attributeText,
  attributeU8,
  attributeU16,
  attributeU32,
  listAttributes,
  type Message,
  nested,
  parseAttributes,
} from './netlink.ts';
import { IFINFOMSG_BYTES, linkHeader } from './rtnetlink.ts';

const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_MASTER = 10;
const IFLA_TXQLEN = 13;
const IFLA_LINKINFO = 18;
const IFLA_IFALIAS = 20;
const IFLA_AF_SPEC = 26;
const IFLA_NET_NS_FD = 28;
const IFLA_EXT_MASK = 29;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_INFO_SLAVE_KIND = 4;
const IFLA_INFO_SLAVE_DATA = 5;
const VETH_INFO_PEER = 1;
const IFLA_BR_STP_STATE = 5;
const IFLA_BR_VLAN_FILTERING = 7;
const IFLA_BR_VLAN_DEFAULT_PVID = 39;
const IFLA_BRPORT_MODE = 4;
const IFLA_BRPORT_ISOLATED = 33;
const IFLA_VLAN_ID = 1;
const IFLA_VLAN_PROTOCOL = 5;
const IFLA_MACVLAN_MODE = 1;
const IFLA_IPVLAN_MODE = 1;
const IFLA_IPVLAN_FLAGS = 2;
const IFLA_BRIDGE_FLAGS = 0;
const IFLA_BRIDGE_VLAN_INFO = 2;
const BRIDGE_FLAGS_SELF = 2;
const BRIDGE_VLAN_INFO_PVID = 2;
const BRIDGE_VLAN_INFO_UNTAGGED = 4;
const RTEXT_FILTER_BRVLAN = 2;
const AF_BRIDGE = 7;

const IFF_UP = 1;
const IFF_PROMISC = 0x100;
const IFF_ALLMULTI = 0x200;

const macvlanModes = { private: 1, vepa: 2, bridge: 4, passthru: 8, source: 16 } as const;
const ipvlanModes = { l2: 0, l3: 1, l3s: 2 } as const;
const ipvlanFlags = { bridge: 0, private: 1, vepa: 2 } as const;
const vlanProtocols = { '802.1Q': 0x8100, '802.1ad': 0x88a8 } as const;

/** What is particular to a kind of link; the name of the kind as ip-link(8) has it. */
export type LinkDetails =
  | { readonly kind: 'bridge'; readonly stp?: boolean; readonly vlanFiltering?: boolean; readonly vlanDefaultPvid?: number }
  | { readonly kind: 'veth'; readonly peer?: LinkChange }
  | { readonly kind: 'dummy' | 'ifb' }
  | { readonly kind: 'vlan'; readonly id: number; readonly protocol?: keyof typeof vlanProtocols }
  | { readonly kind: 'macvlan'; readonly mode: keyof typeof macvlanModes }
  | { readonly kind: 'ipvlan'; readonly mode: keyof typeof ipvlanModes; readonly flag?: keyof typeof ipvlanFlags };

/** Of a port of a bridge. */
export interface PortChange {
  readonly hairpin?: boolean;
  readonly isolated?: boolean;
}

/** What a request says of a link; what is absent stays as it is. */
export interface LinkChange {
  /** Which link, when it is not `name` that tells; beside an index, `name` is the new name. */
  readonly index?: number;
  readonly name?: string;
  readonly up?: boolean;
  readonly promiscuous?: boolean;
  readonly allMulticast?: boolean;
  readonly mtu?: number;
  /** "0a:58:0a:f4:00:05" */
  readonly mac?: string;
  /** Index of the bridge to be a port of; 0: of none. */
  readonly master?: number;
  /** Index of the link below, of a vlan, macvlan or ipvlan. */
  readonly parent?: number;
  /** The kernel takes it of a link that there is, not of one that is being made. */
  readonly alias?: string;
  readonly transmitQueue?: number;
  /** Descriptor of the network namespace to be made in or moved to. */
  readonly netnsFd?: number;
  readonly details?: LinkDetails;
  readonly port?: PortChange;
}

export function parseMac(mac: string): Buffer {
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac))
    throw new Error(`"${mac}" is no MAC address: expected six bytes such as 0a:58:0a:f4:00:05`);
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

export function formatMac(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

const given = <T>(value: T | undefined, encode: (value: T) => Buffer): Buffer[] => (value === undefined ? [] : [encode(value)]);
const flag = (type: number) => (on: boolean) => attributeU8(type, on ? 1 : 0);

/** The body of RTM_NEWLINK, RTM_SETLINK, RTM_GETLINK or RTM_DELLINK. */
export function encodeLink(change: LinkChange): Buffer {
  const { index, name, mtu, mac, master, parent, alias, transmitQueue, netnsFd, details, port } = change;
  const bits = [
    [IFF_UP, change.up],
    [IFF_PROMISC, change.promiscuous],
    [IFF_ALLMULTI, change.allMulticast],
  ] as const;
  const mask = bits.reduce((sum, [bit, value]) => (value === undefined ? sum : sum | bit), 0);
  const flags = bits.reduce((sum, [bit, value]) => (value ? sum | bit : sum), 0);
  const info = [
    ...given(details, ({ kind }) => attributeString(IFLA_INFO_KIND, kind)),
    ...given(details, encodeDetails).filter(({ length }) => length > 4),
    ...given(port, () => attributeString(IFLA_INFO_SLAVE_KIND, 'bridge')),
    ...given(port, ({ hairpin, isolated }) =>
      nested(IFLA_INFO_SLAVE_DATA, [...given(hairpin, flag(IFLA_BRPORT_MODE)), ...given(isolated, flag(IFLA_BRPORT_ISOLATED))]),
    ),
  ];
  return Buffer.concat([
    linkHeader({ ...(index === undefined ? {} : { index }), flags, mask }),
    ...given(name, (text) => attributeString(IFLA_IFNAME, text)),
    ...given(mac, (text) => attribute(IFLA_ADDRESS, parseMac(text))),
    ...given(mtu, (bytes) => attributeU32(IFLA_MTU, bytes)),
    ...given(parent, (link) => attributeU32(IFLA_LINK, link)),
    ...given(master, (link) => attributeU32(IFLA_MASTER, link)),
    ...given(transmitQueue, (packets) => attributeU32(IFLA_TXQLEN, packets)),
    ...given(alias, (text) => attributeString(IFLA_IFALIAS, text)),
    ...given(netnsFd, (fd) => attributeU32(IFLA_NET_NS_FD, fd)),
    ...(info.length === 0 ? [] : [nested(IFLA_LINKINFO, info)]),
  ]);
}

function encodeDetails(details: LinkDetails): Buffer {
  switch (details.kind) {
    case 'bridge':
      return nested(IFLA_INFO_DATA, [
        ...given(details.stp, (on) => attributeU32(IFLA_BR_STP_STATE, on ? 1 : 0)),
        ...given(details.vlanFiltering, flag(IFLA_BR_VLAN_FILTERING)),
        ...given(details.vlanDefaultPvid, (id) => attributeU16(IFLA_BR_VLAN_DEFAULT_PVID, id)),
      ]);
    case 'veth':
      return nested(
        IFLA_INFO_DATA,
        given(details.peer, (peer) => nested(VETH_INFO_PEER, [encodeLink(peer)])),
      );
    case 'vlan':
      return nested(IFLA_INFO_DATA, [
        attributeU16(IFLA_VLAN_ID, details.id),
        ...given(details.protocol, (protocol) => attributeBe16(IFLA_VLAN_PROTOCOL, vlanProtocols[protocol])),
      ]);
    case 'macvlan':
      return nested(IFLA_INFO_DATA, [attributeU32(IFLA_MACVLAN_MODE, macvlanModes[details.mode])]);
    case 'ipvlan':
      return nested(IFLA_INFO_DATA, [
        attributeU16(IFLA_IPVLAN_MODE, ipvlanModes[details.mode]),
        ...given(details.flag, (name) => attributeU16(IFLA_IPVLAN_FLAGS, ipvlanFlags[name])),
      ]);
    case 'dummy':
    case 'ifb':
      return nested(IFLA_INFO_DATA, []);
  }
}

export interface Link {
  readonly index: number;
  readonly name: string;
  readonly up: boolean;
  readonly promiscuous: boolean;
  readonly allMulticast: boolean;
  readonly mtu: number;
  /** In packets. */
  readonly transmitQueue: number;
  /** "0a:58:0a:f4:00:05"; empty where a link has none. */
  readonly mac: string;
  /** Index of the bridge that it is a port of; 0 for none. */
  readonly master: number;
  /** Index of the link below or, of a veth, of its peer, which may be in another namespace; 0 for none. */
  readonly parent: number;
  readonly alias: string;
  /** "bridge", "veth", …; empty for hardware. */
  readonly kind: string;
  /** Of the kinds that are known here. */
  readonly details: LinkDetails | undefined;
  /** Of a port of a bridge. */
  readonly port: Required<PortChange> | undefined;
}

const none = Buffer.alloc(0);

export function parseLink({ body }: Message): Link {
  const attributes = parseAttributes(body.subarray(IFINFOMSG_BYTES));
  const info = parseAttributes(attributes.get(IFLA_LINKINFO) ?? none);
  const flags = body.readUInt32LE(8);
  const kind = attributeText(info.get(IFLA_INFO_KIND) ?? none);
  const port = attributeText(info.get(IFLA_INFO_SLAVE_KIND) ?? none) === 'bridge' ? info.get(IFLA_INFO_SLAVE_DATA) : undefined;
  return {
    index: body.readInt32LE(4),
    up: (flags & IFF_UP) !== 0,
    promiscuous: (flags & IFF_PROMISC) !== 0,
    allMulticast: (flags & IFF_ALLMULTI) !== 0,
    name: attributeText(attributes.get(IFLA_IFNAME) ?? none),
    mtu: attributes.get(IFLA_MTU)?.readUInt32LE(0) ?? 0,
    transmitQueue: attributes.get(IFLA_TXQLEN)?.readUInt32LE(0) ?? 0,
    mac: formatMac(attributes.get(IFLA_ADDRESS) ?? none),
    master: attributes.get(IFLA_MASTER)?.readUInt32LE(0) ?? 0,
    parent: attributes.get(IFLA_LINK)?.readUInt32LE(0) ?? 0,
    alias: attributeText(attributes.get(IFLA_IFALIAS) ?? none),
    kind,
    details: parseDetails(kind, parseAttributes(info.get(IFLA_INFO_DATA) ?? none)),
    port: port === undefined ? undefined : parsePort(parseAttributes(port)),
  };
}

const isSet = (value: Buffer | undefined): boolean => value?.[0] === 1;

function parsePort(attributes: ReadonlyMap<number, Buffer>): Required<PortChange> {
  return { hairpin: isSet(attributes.get(IFLA_BRPORT_MODE)), isolated: isSet(attributes.get(IFLA_BRPORT_ISOLATED)) };
}

function nameOf<N extends string>(names: Readonly<Record<N, number>>, value: number): N {
  const found = (Object.keys(names) as N[]).find((name) => names[name] === value);
  if (found === undefined) throw new Error(`the kernel names a link mode ${value} that is unknown here`);
  return found;
}

function parseDetails(kind: string, data: ReadonlyMap<number, Buffer>): LinkDetails | undefined {
  switch (kind) {
    case 'bridge':
      return {
        kind,
        stp: (data.get(IFLA_BR_STP_STATE)?.readUInt32LE(0) ?? 0) !== 0,
        vlanFiltering: isSet(data.get(IFLA_BR_VLAN_FILTERING)),
        vlanDefaultPvid: data.get(IFLA_BR_VLAN_DEFAULT_PVID)?.readUInt16LE(0) ?? 0,
      };
    case 'veth':
    case 'dummy':
    case 'ifb':
      return { kind };
    case 'vlan':
      return {
        kind,
        id: data.get(IFLA_VLAN_ID)?.readUInt16LE(0) ?? 0,
        protocol: nameOf(vlanProtocols, data.get(IFLA_VLAN_PROTOCOL)?.readUInt16BE(0) ?? vlanProtocols['802.1Q']),
      };
    case 'macvlan':
      return { kind, mode: nameOf(macvlanModes, data.get(IFLA_MACVLAN_MODE)?.readUInt32LE(0) ?? 0) };
    case 'ipvlan':
      return {
        kind,
        mode: nameOf(ipvlanModes, data.get(IFLA_IPVLAN_MODE)?.readUInt16LE(0) ?? 0),
        flag: nameOf(ipvlanFlags, data.get(IFLA_IPVLAN_FLAGS)?.readUInt16LE(0) ?? 0),
      };
    default:
      return undefined;
  }
}

export interface PortVlan {
  readonly id: number;
  /** What comes in untagged belongs to it. */
  readonly pvid: boolean;
  /** It leaves without its tag. */
  readonly untagged: boolean;
}

/** struct bridge_vlan_info { u16 flags; u16 vid; }, for RTM_SETLINK and RTM_DELLINK. `self`: of the bridge itself, not of a port. */
export function encodePortVlan(index: number, { id, pvid, untagged }: PortVlan, self = false): Buffer {
  const info = Buffer.alloc(4);
  info.writeUInt16LE((pvid ? BRIDGE_VLAN_INFO_PVID : 0) | (untagged ? BRIDGE_VLAN_INFO_UNTAGGED : 0), 0);
  info.writeUInt16LE(id, 2);
  return Buffer.concat([
    linkHeader({ family: AF_BRIDGE, index }),
    nested(IFLA_AF_SPEC, [...(self ? [attributeU16(IFLA_BRIDGE_FLAGS, BRIDGE_FLAGS_SELF)] : []), attribute(IFLA_BRIDGE_VLAN_INFO, info)]),
  ]);
}

/** The body of a dump (RTM_GETLINK) that tells the VLANs of every bridge and port. */
export function encodePortVlanDump(): Buffer {
  return Buffer.concat([linkHeader({ family: AF_BRIDGE }), attributeU32(IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN)]);
}

export function parsePortVlans({ body }: Message): { readonly index: number; readonly vlans: readonly PortVlan[] } {
  const spec = parseAttributes(body.subarray(IFINFOMSG_BYTES)).get(IFLA_AF_SPEC) ?? none;
  const isInfo = ({ type, value }: Attribute) => type === IFLA_BRIDGE_VLAN_INFO && value.length >= 4;
  const vlans = listAttributes(spec)
    .filter(isInfo)
    .map(({ value }) => ({ flags: value.readUInt16LE(0), id: value.readUInt16LE(2) }))
    .map(({ flags, id }) => ({ id, pvid: (flags & BRIDGE_VLAN_INFO_PVID) !== 0, untagged: (flags & BRIDGE_VLAN_INFO_UNTAGGED) !== 0 }));
  return { index: body.readInt32LE(4), vlans };
}
