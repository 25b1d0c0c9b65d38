// Owns the plugin bandwidth: limits for the container that the plugins before it connected.

import { NETLINK_ROUTE, NetlinkSocket } from '../../runtime/linux/netlink-socket.ts';
import type { Link } from '../../runtime/linux/rtnetlink-link.ts';
import { addBandwidth, type Bandwidth, ifbName, listQdiscs, removeBandwidth } from '../bandwidth.ts';
import { findLink, getLink, listLinks } from '../link.ts';
import { numberField, objectOf, refuse } from '../spec/config.ts';
import { checkFailure, invalidConfig } from '../spec/error.ts';
import type { PluginCall, PluginType } from '../spec/plugin.ts';
import { type Namespaces, withNamespaces } from './netns.ts';

/** The runtime's word for this container wins over the network's for all. */
function bandwidthFor({ config }: PluginCall): Bandwidth {
  refuse(config.fields, 'shapedSubnets', 'unshapedSubnets');
  const told = objectOf(config.runtimeConfig.bandwidth, 'runtimeConfig.bandwidth');
  const of = Object.keys(told).length > 0 ? told : config.fields;
  const entries = (['ingressRate', 'ingressBurst', 'egressRate', 'egressBurst'] as const).map(
    (name) => [name, numberField(of, name)] as const,
  );
  const bandwidth: Bandwidth = Object.fromEntries(entries.filter(([, value]) => value !== undefined));
  for (const direction of ['ingress', 'egress'] as const)
    if (bandwidth[`${direction}Burst`] !== undefined && bandwidth[`${direction}Rate`] === undefined)
      throw invalidConfig(`${direction}Burst needs ${direction}Rate beside it`);
  return bandwidth;
}

async function hostEnd({ host, sandbox }: Namespaces, ifName: string): Promise<Link> {
  const { kind, parent } = await getLink(sandbox, ifName);
  const link = kind === 'veth' ? (await listLinks(host)).find(({ index }) => index === parent) : undefined;
  if (link === undefined) throw invalidConfig(`${ifName} has no end on the host whose bandwidth could be limited: it is no veth`);
  return link;
}

export const bandwidth: PluginType = {
  async add(call) {
    const wanted = bandwidthFor(call);
    const { prevResult } = call.config;
    if (prevResult === undefined)
      throw invalidConfig('bandwidth has to be behind a plugin that connects the container: there is no prevResult');
    if (wanted.ingressRate === undefined && wanted.egressRate === undefined) return prevResult;
    return withNamespaces(call, async (namespaces) => {
      const link = await hostEnd(namespaces, call.ifName);
      try {
        const ifb = await addBandwidth(namespaces.host, link, wanted);
        return ifb === undefined
          ? prevResult
          : { ...prevResult, interfaces: [...prevResult.interfaces, { name: ifb.name, mac: ifb.mac, mtu: ifb.mtu }] };
      } catch (error) {
        await removeBandwidth(namespaces.host, link, link.name).catch(() => undefined);
        throw error;
      }
    });
  },

  async del({ config }) {
    const host = new NetlinkSocket(NETLINK_ROUTE);
    try {
      // Its name tells whose it was, also when veth and namespace are gone.
      for (const { name, sandbox } of config.prevResult?.interfaces ?? [])
        if (sandbox === undefined) await removeBandwidth(host, name.startsWith('veth') ? await findLink(host, name) : undefined, name);
    } finally {
      host.close();
    }
  },

  async check(call) {
    const wanted = bandwidthFor(call);
    await withNamespaces(call, async (namespaces) => {
      const link = await hostEnd(namespaces, call.ifName);
      const qdiscs = await listQdiscs(namespaces.host);
      const isLimited = (index: number | undefined) => qdiscs.some(({ linkIndex, kind }) => linkIndex === index && kind === 'tbf');
      if (wanted.ingressRate !== undefined && !isLimited(link.index))
        throw checkFailure(`the limit towards the container on ${link.name} is gone`);
      if (wanted.egressRate !== undefined && !isLimited((await findLink(namespaces.host, ifbName(link.name)))?.index))
        throw checkFailure(`the limit away from the container on ${ifbName(link.name)} is gone`);
    });
  },
};
