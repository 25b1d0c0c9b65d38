// Owns the plugin portmap: ports of the host that lead to the container whose addresses the plugins before it gave.
import { NETLINK_ROUTE, NetlinkSocket } from '../../runtime/linux/netlink-socket.ts';
import type { PortMapping } from '../client.ts';
import { checkPortMappings, planHostPorts } from '../host-port.ts';
import { type IpAddress, parseIp } from '../ip.ts';
import { listLinks } from '../link.ts';
import { linkIndexTowards } from '../route.ts';
import { booleanField, listField, objectOf, parsed, refuse } from '../spec/config.ts';
import { checkFailure, invalidConfig } from '../spec/error.ts';
import type { PluginCall, PluginType } from '../spec/plugin.ts';
import { applySysctls } from '../sysctl.ts';
import { addHostPorts, gcNat, hasNat, removeNat } from './nat.ts';

function mappingsOf({ config }: PluginCall): PortMapping[] {
  refuse(config.fields, 'conditionsV4', 'conditionsV6', 'externalSetMarkChain', 'markMasqBit');
  const mappings = listField(config.runtimeConfig, 'portMappings').map((value) => {
    const { hostPort, containerPort, protocol = 'tcp', hostIP } = objectOf(value, 'a port mapping');
    return {
      hostPort: Number(hostPort),
      containerPort: Number(containerPort),
      protocol: String(protocol).toLowerCase() as PortMapping['protocol'],
      ...(typeof hostIP === 'string' && hostIP !== '' ? { hostIp: hostIP } : {}),
    };
  });
  parsed('portMappings', () => checkPortMappings(mappings));
  return mappings;
}

function addressesOf({ config, ifName }: PluginCall): IpAddress[] {
  const { prevResult } = config;
  if (prevResult === undefined) throw invalidConfig('portmap has to be behind a plugin that gives addresses: there is no prevResult');
  const own = prevResult.ips.filter((ip) => {
    const entry = ip.interface === undefined ? undefined : prevResult.interfaces[ip.interface];
    return entry === undefined || (entry.sandbox !== undefined && entry.name === ifName);
  });
  // One of each family: the primary.
  return own
    .map(({ address }) => parseIp(address.split('/')[0] ?? ''))
    .filter(({ family }, i, all) => all.findIndex((one) => one.family === family) === i);
}

/** A connection from 127.0.0.1 keeps that source until it is masqueraded on its way out, which the kernel allows by link. */
async function allowLocalhost(addresses: readonly IpAddress[]): Promise<void> {
  const target = addresses.find(({ family }) => family === 4);
  if (target === undefined) return;
  const socket = new NetlinkSocket(NETLINK_ROUTE);
  try {
    const index = await linkIndexTowards(socket, target);
    const link = (await listLinks(socket)).find((one) => one.index === index);
    if (link !== undefined) await applySysctls([{ name: `net/ipv4/conf/${link.name}/route_localnet`, value: '1' }]);
  } finally {
    socket.close();
  }
}

export const portmap: PluginType = {
  async add(call) {
    const mappings = mappingsOf(call);
    const addresses = addressesOf(call);
    const { prevResult } = call.config;
    if (prevResult === undefined) throw invalidConfig('there is no prevResult');
    if (mappings.length === 0) return prevResult;
    const hostPorts = parsed('portMappings', () => planHostPorts(mappings, addresses));
    await allowLocalhost(addresses);
    await addHostPorts(call, hostPorts, booleanField(call.config.fields, 'snat', true));
    return prevResult;
  },

  del: removeNat,

  async check(call) {
    if (mappingsOf(call).length > 0 && !(await hasNat(call, 'element'))) throw checkFailure('the hostPorts are gone');
  },

  gc: (call, valid) => gcNat(call.config.name, valid),
};
