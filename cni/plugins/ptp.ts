// Owns the plugin ptp: a veth pair between container and host, routed, without a bridge.

import { addAddress } from '../address.ts';
import { bitsOf } from '../ip.ts';
import { addLink, findLink, getLink, setLink } from '../link.ts';
import { addRoute } from '../route.ts';
import { booleanField, type Fields, numberField } from '../spec/config.ts';
import { checkFailure, invalidConfig } from '../spec/error.ts';
import type { PluginCall, PluginType } from '../spec/plugin.ts';
import type { Result } from '../spec/result.ts';
import { applySysctls } from '../sysctl.ts';
import {
  checkInterface,
  dnsOf,
  hostCidr,
  hostVethName,
  ipamAdd,
  ipamCheck,
  ipamGc,
  ipamStatus,
  parseResultIp,
  routeRequest,
} from './attachment.ts';
import { disconnect } from './disconnect.ts';
import { addMasquerade, gcNat, hasNat, masqueradeRules } from './nat.ts';
import { type Namespaces, withNamespaces } from './netns.ts';

const optionsOf = (fields: Fields) => ({
  ipMasq: booleanField(fields, 'ipMasq'),
  mtu: numberField(fields, 'mtu', { min: 68, max: 65535 }),
});

async function connect(call: PluginCall, { host, sandbox, netnsFd }: Namespaces): Promise<Result> {
  const { ipMasq, mtu } = optionsOf(call.config.fields);
  const name = hostVethName(call);
  const size = mtu === undefined ? {} : { mtu };
  await host.request(
    addLink({ name, up: true, ...size, details: { kind: 'veth', peer: { name: call.ifName, netnsFd, ...size } } }),
    setLink({ name, alias: call.containerId.slice(0, 200) }, `set alias of ${name}`),
  );
  const addressed = await ipamAdd(call);
  const ips = addressed.ips.map(parseResultIp);
  const own = await getLink(host, name);
  const peer = await getLink(sandbox, call.ifName);
  for (const { gateway, address } of ips) {
    if (gateway === undefined) throw invalidConfig('ptp needs a gateway with every address: the IPAM plugin gave none');
    await applySysctls([{ name: address.family === 4 ? 'net/ipv4/ip_forward' : 'net/ipv6/conf/all/forwarding', value: '1' }]);
  }
  const gateways = ips.flatMap(({ gateway }) => (gateway === undefined ? [] : [gateway]));
  // The whole network is behind the gateway, neighbours of the same prefix too.
  await sandbox.request(
    ...ips.map(({ address, prefixLength }) =>
      addAddress({ linkIndex: peer.index, linkName: peer.name, address, prefixLength, noPrefixRoute: true }),
    ),
    setLink({ index: peer.index, up: true }, `set ${peer.name} up`),
    ...gateways.map((gateway) => addRoute(hostCidr(gateway), undefined, { linkIndex: peer.index, linkName: peer.name })),
    ...ips.map(({ network, gateway }) => addRoute(network, gateway, { linkIndex: peer.index, linkName: peer.name })),
    ...addressed.routes.map((route) => routeRequest(route, ips, peer)),
  );
  await host.request(
    ...gateways.map((address) => addAddress({ linkIndex: own.index, linkName: name, address, prefixLength: bitsOf(address.family) })),
    ...ips.map(({ address }) => addRoute(hostCidr(address), undefined, { linkIndex: own.index, linkName: name })),
  );
  if (ipMasq) await addMasquerade(masqueradeRules(call, ips));
  return {
    interfaces: [
      { name, mac: own.mac, mtu: own.mtu },
      { name: peer.name, mac: peer.mac, mtu: peer.mtu, sandbox: call.netns },
    ],
    ips: addressed.ips.map((ip) => ({ ...ip, interface: 1 })),
    routes: addressed.routes,
    dns: dnsOf(call.config, addressed),
  };
}

export const ptp: PluginType = {
  add: (call) =>
    withNamespaces(call, async (namespaces) => {
      if ((await findLink(namespaces.sandbox, call.ifName)) !== undefined)
        throw invalidConfig(`container ${call.containerId} has an interface ${call.ifName} already`);
      try {
        return await connect(call, namespaces);
      } catch (error) {
        await disconnect(call).catch(() => undefined);
        throw error;
      }
    }),

  del: disconnect,

  async check(call) {
    await ipamCheck(call);
    await withNamespaces(call, async ({ host, sandbox }) => {
      const { parent } = await checkInterface(sandbox, call);
      if ((await findLink(host, hostVethName(call)))?.index !== parent)
        throw checkFailure(`${hostVethName(call)}, the host's end of ${call.ifName}, is gone`);
    });
    if (optionsOf(call.config.fields).ipMasq && !(await hasNat(call, 'rule'))) throw checkFailure('the masquerading rule is gone');
  },

  status: ipamStatus,

  async gc(call, valid) {
    await gcNat(call.config.name, valid);
    await ipamGc(call, valid);
  },
};
