// Owns the plugin tuning: settings of the container's namespace and of its interface. They go with the namespace.
import { type LinkChange, parseMac } from '../../runtime/linux/rtnetlink-link.ts';
import { getLink, setLink } from '../link.ts';
import { booleanField, numberField, objectOf, parsed } from '../spec/config.ts';
import { checkFailure, invalidConfig } from '../spec/error.ts';
import type { PluginCall, PluginType } from '../spec/plugin.ts';
import { requestedMac } from './attachment.ts';
import { readSysctl, withNamespaces, writeSysctl } from './netns.ts';

function sysctlsOf({ config, ifName }: PluginCall): [string, string][] {
  return Object.entries(objectOf(config.fields.sysctl, 'sysctl')).map(([key, value]) => {
    const name = key.replaceAll('IFNAME', ifName);
    // Others belong to the machine, not to the network namespace.
    if (!/^net[./][a-zA-Z0-9_./:-]+$/.test(name) || name.includes('..'))
      throw invalidConfig(`sysctl ${key}: only those of net. are the container's own`);
    return [name, String(value)];
  });
}

function changeOf(call: PluginCall): LinkChange {
  const { fields } = call.config;
  const mac = requestedMac(call);
  if (mac !== undefined) parsed('mac', () => parseMac(mac));
  const mtu = numberField(fields, 'mtu', { min: 68, max: 65535 });
  const transmitQueue = numberField(fields, 'txQLen');
  return {
    ...(mac === undefined ? {} : { mac }),
    ...(mtu === undefined ? {} : { mtu }),
    ...(transmitQueue === undefined ? {} : { transmitQueue }),
    ...(fields.promisc === undefined ? {} : { promiscuous: booleanField(fields, 'promisc') }),
    ...(fields.allmulti === undefined ? {} : { allMulticast: booleanField(fields, 'allmulti') }),
  };
}

export const tuning: PluginType = {
  async add(call) {
    const { prevResult } = call.config;
    if (prevResult === undefined) throw invalidConfig('tuning has to be behind a plugin that makes the interface: there is no prevResult');
    const sysctls = sysctlsOf(call);
    const change = changeOf(call);
    return withNamespaces(call, async ({ sandbox, netnsFd }) => {
      for (const [name, value] of sysctls) writeSysctl(netnsFd, name, value);
      if (Object.keys(change).length > 0) await sandbox.request(setLink({ name: call.ifName, ...change }, `tune ${call.ifName}`));
      const { mac, mtu } = await getLink(sandbox, call.ifName);
      const interfaces = prevResult.interfaces.map((one) =>
        one.sandbox !== undefined && one.name === call.ifName ? { ...one, mac, ...(one.mtu === undefined ? {} : { mtu }) } : one,
      );
      return { ...prevResult, interfaces };
    });
  },

  del: async () => undefined,

  check: (call) =>
    withNamespaces(call, async ({ sandbox, netnsFd }) => {
      for (const [name, value] of sysctlsOf(call)) {
        const now = readSysctl(netnsFd, name);
        if (now.split(/\s+/).join(' ') !== value.trim().split(/\s+/).join(' ')) throw checkFailure(`${name} is ${now}, not ${value}`);
      }
      const link = await getLink(sandbox, call.ifName);
      const { mac, mtu, promiscuous, allMulticast } = changeOf(call);
      if (mac !== undefined && mac.toLowerCase() !== link.mac) throw checkFailure(`${call.ifName} has MAC ${link.mac}, not ${mac}`);
      if (mtu !== undefined && mtu !== link.mtu) throw checkFailure(`${call.ifName} has mtu ${link.mtu}, not ${mtu}`);
      if (promiscuous !== undefined && promiscuous !== link.promiscuous)
        throw checkFailure(`${call.ifName}: promiscuous mode is ${link.promiscuous ? 'on' : 'off'}`);
      if (allMulticast !== undefined && allMulticast !== link.allMulticast)
        throw checkFailure(`${call.ifName}: allmulti is ${link.allMulticast ? 'on' : 'off'}`);
    }),
};
