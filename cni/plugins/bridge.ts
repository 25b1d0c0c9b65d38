// Owns the plugin bridge: a bridge of the host, and a veth pair between it and the container.
import type { NetlinkSocket } from '../../runtime/linux/netlink-socket.ts';
import type { Link } from '../../runtime/linux/rtnetlink-link.ts';
import { addAddress, deleteAddress, listAddresses } from '../address.ts';
import { bitsOf, type Cidr, formatIp, type IpAddress, parseCidr } from '../ip.ts';
import { addLink, addPortVlan, deletePortVlan, findLink, getLink, listPortVlans, setLink } from '../link.ts';
import { booleanField, type Fields, listField, numberField, objectOf, refuse, textField } from '../spec/config.ts';
import { checkFailure, invalidConfig } from '../spec/error.ts';
import type { PluginCall, PluginType } from '../spec/plugin.ts';
import { EMPTY_RESULT, type Result, type ResultInterface } from '../spec/result.ts';
import { applySysctls } from '../sysctl.ts';
import {
  checkInterface,
  configureInterface,
  dnsOf,
  hasIpam,
  hostVethName,
  ipamAdd,
  ipamCheck,
  ipamGc,
  ipamStatus,
  type ParsedIp,
  parseResultIp,
  requestedMac,
} from './attachment.ts';
import { disconnect } from './disconnect.ts';
import { addMasquerade, gcNat, hasNat, masqueradeRules } from './nat.ts';
import { type Namespaces, withNamespaces } from './netns.ts';

const MAX_VLAN = 4094;
/** The VLAN that the kernel gives a port of a bridge that filters. */
const DEFAULT_VLAN = 1;

interface BridgeOptions {
  readonly bridge: string;
  readonly isGateway: boolean;
  readonly isDefaultGateway: boolean;
  readonly forceAddress: boolean;
  readonly ipMasq: boolean;
  readonly hairpin: boolean;
  readonly promiscuous: boolean;
  readonly isolated: boolean;
  readonly disableInterface: boolean;
  readonly keepDefaultVlan: boolean;
  readonly mtu: number | undefined;
  readonly vlan: number | undefined;
  readonly trunk: readonly number[];
}

function parseTrunk(fields: Fields): number[] {
  return listField(fields, 'vlanTrunk').flatMap((value) => {
    const one = objectOf(value, 'vlanTrunk');
    const [id, first, last] = ['id', 'minID', 'maxID'].map((name) => numberField(one, name, { min: 1, max: MAX_VLAN }));
    if (id !== undefined) return [id];
    if (first === undefined || last === undefined || first > last)
      throw invalidConfig('vlanTrunk: expected an id, or minID and a maxID behind it');
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

export function parseOptions(fields: Fields): BridgeOptions {
  refuse(fields, 'macspoofchk');
  const isDefaultGateway = booleanField(fields, 'isDefaultGateway');
  const options: BridgeOptions = {
    bridge: textField(fields, 'bridge', 'cni0'),
    isDefaultGateway,
    isGateway: isDefaultGateway || booleanField(fields, 'isGateway'),
    forceAddress: booleanField(fields, 'forceAddress'),
    ipMasq: booleanField(fields, 'ipMasq'),
    hairpin: booleanField(fields, 'hairpinMode'),
    promiscuous: booleanField(fields, 'promiscMode'),
    isolated: booleanField(fields, 'portIsolation'),
    disableInterface: booleanField(fields, 'disableContainerInterface'),
    keepDefaultVlan: booleanField(fields, 'preserveDefaultVlan', true),
    mtu: numberField(fields, 'mtu', { min: 68, max: 65535 }),
    vlan: numberField(fields, 'vlan', { min: 1, max: MAX_VLAN }),
    trunk: parseTrunk(fields),
  };
  if (options.hairpin && options.promiscuous) throw invalidConfig('hairpinMode and promiscMode exclude each other');
  if (options.disableInterface && objectOf(fields.ipam, 'ipam').type)
    throw invalidConfig('disableContainerInterface: an interface that is down takes no addresses: leave ipam out');
  return options;
}

const filtersVlans = ({ vlan, trunk }: BridgeOptions): boolean => vlan !== undefined || trunk.length > 0;

async function ensureBridge(host: NetlinkSocket, options: BridgeOptions): Promise<Link> {
  const { bridge: name, mtu, promiscuous } = options;
  const vlanFiltering = filtersVlans(options);
  let link = await findLink(host, name);
  if (link === undefined) {
    const details = { kind: 'bridge', ...(vlanFiltering ? { vlanFiltering } : {}) } as const;
    await host.request(addLink({ name, up: true, ...(mtu === undefined ? {} : { mtu }), details })).catch((error: unknown) => {
      // Another container of the network was faster.
      if ((error as { code?: unknown }).code !== 'EEXIST') throw error;
    });
    link = await getLink(host, name);
  }
  if (link.details?.kind !== 'bridge') throw invalidConfig(`link ${name} is in the way: it is no bridge`);
  const filter = vlanFiltering && !link.details.vlanFiltering;
  const promote = promiscuous && !link.promiscuous;
  if (!link.up || filter || promote)
    await host.request(
      setLink(
        { name, up: true, ...(promote ? { promiscuous } : {}), ...(filter ? { details: { kind: 'bridge', vlanFiltering } } : {}) },
        `set bridge ${name} up${filter ? ' with VLAN filtering' : ''}`,
      ),
    );
  // A member of a network must not become this host's router (CVE-2020-10749).
  await applySysctls([{ name: `net/ipv6/conf/${name}/accept_ra`, value: '0' }]).catch(() => undefined);
  return link;
}

function vethRequests(call: PluginCall, options: BridgeOptions, bridge: Link, netnsFd: number) {
  const name = hostVethName(call);
  const mac = requestedMac(call);
  const mtu = options.mtu === undefined ? {} : { mtu: options.mtu };
  const peer = { name: call.ifName, netnsFd, ...mtu, ...(mac === undefined ? {} : { mac }) };
  return [
    addLink(
      { name, up: true, ...mtu, master: bridge.index, details: { kind: 'veth', peer } },
      `add veth ${name} with peer ${call.ifName} to ${options.bridge}`,
    ),
    setLink(
      { name, alias: call.containerId.slice(0, 200), port: { hairpin: options.hairpin, ...(options.isolated ? { isolated: true } : {}) } },
      `set port ${name} of ${options.bridge}`,
    ),
  ];
}

async function setVlans(
  host: NetlinkSocket,
  port: Link,
  bridge: Link,
  { vlan, trunk, keepDefaultVlan, isGateway }: BridgeOptions,
): Promise<void> {
  const tagged = trunk.filter((id) => id !== vlan);
  await host.request(
    ...(keepDefaultVlan || vlan === DEFAULT_VLAN ? [] : [deletePortVlan(port.index, port.name, DEFAULT_VLAN)]),
    ...(vlan === undefined ? [] : [addPortVlan(port.index, port.name, { id: vlan, pvid: true, untagged: true })]),
    ...tagged.map((id) => addPortVlan(port.index, port.name, { id, pvid: false, untagged: false })),
    // The host's own interface of the VLAN sits on the bridge.
    ...(vlan === undefined || !isGateway ? [] : [addPortVlan(bridge.index, bridge.name, { id: vlan, pvid: false, untagged: false }, true)]),
  );
}

/** Where the host has the network's gateway address: on the bridge, or on its interface of the VLAN. */
async function gatewayLink(host: NetlinkSocket, bridge: Link, { vlan, mtu }: BridgeOptions): Promise<Link> {
  if (vlan === undefined) return bridge;
  const name = `${bridge.name}.${vlan}`.slice(0, 15);
  if ((await findLink(host, name)) === undefined)
    await host
      .request(
        addLink({ name, parent: bridge.index, up: true, ...(mtu === undefined ? {} : { mtu }), details: { kind: 'vlan', id: vlan } }),
      )
      .catch((error: unknown) => {
        if ((error as { code?: unknown }).code !== 'EEXIST') throw error;
      });
  return getLink(host, name);
}

async function ensureGateways(host: NetlinkSocket, link: Link, ips: readonly ParsedIp[], forceAddress: boolean): Promise<void> {
  const present = (await listAddresses(host)).filter(({ linkIndex }) => linkIndex === link.index);
  for (const { gateway, prefixLength, network } of ips) {
    if (gateway === undefined) continue;
    const same = present.some(
      ({ address, prefixLength: length }) =>
        address.value === gateway.value && address.family === gateway.family && length === prefixLength,
    );
    if (same) continue;
    const others = present.filter(({ address }) => address.family === gateway.family && !isLinkLocal(address));
    // A bridge may serve several networks of IPv6, but an IPv4 address that is another one is somebody's mistake.
    const conflicting = others.filter(({ address, prefixLength: length }) => gateway.family === 4 || overlaps(address, length, network));
    if (conflicting.length > 0 && !forceAddress) {
      const [first] = conflicting;
      throw invalidConfig(
        `${link.name} has address ${first === undefined ? '' : `${formatIp(first.address)}/${first.prefixLength}`}, not the gateway's ${formatIp(gateway)}/${prefixLength}: set forceAddress, or choose another bridge`,
      );
    }
    await host
      .request(
        ...conflicting.map((one) => deleteAddress({ ...one, linkName: link.name })),
        addAddress({ linkIndex: link.index, linkName: link.name, address: gateway, prefixLength }),
      )
      .catch((error: unknown) => {
        if ((error as { code?: unknown }).code !== 'EEXIST') throw error;
      });
    await applySysctls([{ name: gateway.family === 4 ? 'net/ipv4/ip_forward' : 'net/ipv6/conf/all/forwarding', value: '1' }]);
  }
}

const isLinkLocal = ({ family, value }: IpAddress): boolean => family === 6 && value >> 118n === 0x3fan;

function overlaps(address: IpAddress, prefixLength: number, network: Cidr): boolean {
  const shift = BigInt(bitsOf(address.family) - Math.min(prefixLength, network.prefixLength));
  return address.value >> shift === network.first >> shift;
}

/** The addresses with the gateways that the container shall have, and a default route by them where that is wanted. */
function withGateways(ipam: Result, { isGateway, isDefaultGateway }: BridgeOptions): Result {
  if (!isGateway) return ipam;
  const ips = ipam.ips.map((ip) => {
    if (ip.gateway !== undefined) return ip;
    const { family, first } = parseCidr(ip.address);
    return { ...ip, gateway: formatIp({ family, value: first + 1n }) };
  });
  const defaults = isDefaultGateway
    ? ips
        .map(({ address, gateway }) => ({ dst: address.includes(':') ? '::/0' : '0.0.0.0/0', gw: gateway as string }))
        .filter(({ dst }, i, all) => all.findIndex((one) => one.dst === dst) === i && !ipam.routes.some((route) => route.dst === dst))
    : [];
  return { ...ipam, ips, routes: [...ipam.routes, ...defaults] };
}

async function connect(call: PluginCall, options: BridgeOptions, { host, sandbox, netnsFd }: Namespaces): Promise<Result> {
  const bridge = await ensureBridge(host, options);
  await host.request(...vethRequests(call, options, bridge, netnsFd));
  const port = await getLink(host, hostVethName(call));
  if (filtersVlans(options)) await setVlans(host, port, bridge, options);
  const peer = await getLink(sandbox, call.ifName);
  let addressed: Result = EMPTY_RESULT;
  if (hasIpam(call.config)) {
    addressed = withGateways(await ipamAdd(call), options);
    const ips = addressed.ips.map(parseResultIp);
    if (options.isGateway) await ensureGateways(host, await gatewayLink(host, bridge, options), ips, options.forceAddress);
    await configureInterface(sandbox, peer, addressed);
    if (options.ipMasq) await addMasquerade(masqueradeRules(call, ips));
  } else if (!options.disableInterface) await configureInterface(sandbox, peer, EMPTY_RESULT);
  const interfaces: ResultInterface[] = [
    // Its address may have become that of its first port.
    { name: bridge.name, mac: (await getLink(host, bridge.name)).mac, mtu: bridge.mtu },
    { name: port.name, mac: port.mac, mtu: port.mtu },
    { name: peer.name, mac: peer.mac, mtu: peer.mtu, sandbox: call.netns },
  ];
  return {
    interfaces,
    ips: addressed.ips.map((ip) => ({ ...ip, interface: 2 })),
    routes: addressed.routes,
    dns: dnsOf(call.config, addressed),
  };
}

export const bridge: PluginType = {
  async add(call) {
    const options = parseOptions(call.config.fields);
    return withNamespaces(call, async (namespaces) => {
      // Whoever is there already keeps what is his: only what this call made is taken back.
      if ((await findLink(namespaces.sandbox, call.ifName)) !== undefined)
        throw invalidConfig(`container ${call.containerId} has an interface ${call.ifName} already`);
      try {
        return await connect(call, options, namespaces);
      } catch (error) {
        await disconnect(call).catch(() => undefined);
        throw error;
      }
    });
  },

  del: disconnect,

  async check(call) {
    const options = parseOptions(call.config.fields);
    await ipamCheck(call);
    await withNamespaces(call, async ({ host, sandbox }) => {
      const { parent } = await checkInterface(sandbox, call);
      const bridgeLink = await findLink(host, options.bridge);
      if (bridgeLink?.kind !== 'bridge') throw checkFailure(`bridge ${options.bridge} is gone`);
      const port = await findLink(host, hostVethName(call));
      // By its index: a plugin of others would have given it another name.
      if (port === undefined || port.index !== parent)
        throw checkFailure(`${hostVethName(call)}, the host's end of ${call.ifName}, is gone`);
      if (port.master !== bridgeLink.index) throw checkFailure(`${port.name} is no port of ${options.bridge}`);
      if (port.port?.hairpin !== options.hairpin) throw checkFailure(`${port.name}: hairpin mode is ${options.hairpin ? 'off' : 'on'}`);
      if (options.vlan !== undefined && !(await listPortVlans(host)).get(port.index)?.some(({ id, pvid }) => id === options.vlan && pvid))
        throw checkFailure(`${port.name} is not in VLAN ${options.vlan}`);
    });
    if (options.ipMasq && !(await hasNat(call, 'rule'))) throw checkFailure('the masquerading rule is gone');
  },

  async status(call) {
    parseOptions(call.config.fields);
    await ipamStatus(call);
  },

  async gc(call, valid) {
    await gcNat(call.config.name, valid);
    await ipamGc(call, valid);
  },
};
