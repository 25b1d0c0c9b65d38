// Owns the plugin tuning: settings of the container's namespace, which go with it, and of its interface, which may outlive it: a device
// that a plugin lent to the container. What the interface was before is kept in the file in which everyone's tuning keeps it, and given
// back at DEL, so that either may end what the other began.
//   <dataDir>/<container id>_<interface>.json   {"mac", "mtu", "promisc", "allmulti", "txQLen"}, of what was changed
import fs from 'node:fs/promises';
import path from 'node:path';
import { type Link, type LinkChange, parseMac } from '../../runtime/linux/rtnetlink-link.ts';
import { findLink, getLink, setLink } from '../link.ts';
import { booleanField, type Fields, numberField, objectOf, parsed, textField } from '../spec/config.ts';
import { checkFailure, invalidConfig } from '../spec/error.ts';
import type { PluginCall, PluginType } from '../spec/plugin.ts';
import { readState, removeState, writeState } from '../state-file.ts';
import { requestedMac } from './attachment.ts';
import { readSysctl, withNamespaces, withNamespacesIfThere, writeSysctl } from './netns.ts';

const DATA_DIR = '/run/cni/tuning';

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
  return parseChange(call.config.fields, requestedMac(call));
}

function parseChange(fields: Fields, mac: string | undefined): LinkChange {
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

function backupFile({ config, containerId, ifName }: PluginCall): string {
  return path.join(textField(config.fields, 'dataDir', DATA_DIR), `${containerId}_${ifName}.json`);
}

async function backUp(call: PluginCall, change: LinkChange, link: Link): Promise<void> {
  const file = backupFile(call);
  await fs.mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
  await writeState(file, {
    ...(change.mac === undefined ? {} : { mac: link.mac }),
    ...(change.mtu === undefined ? {} : { mtu: link.mtu }),
    ...(change.promiscuous === undefined ? {} : { promisc: link.promiscuous }),
    ...(change.allMulticast === undefined ? {} : { allmulti: link.allMulticast }),
    ...(change.transmitQueue === undefined ? {} : { txQLen: link.transmitQueue }),
  });
}

async function giveBack(call: PluginCall, saved: Fields): Promise<void> {
  // In a configuration 0 is no length; a device may have had it.
  const queue = saved.txQLen === 0 ? { transmitQueue: 0 } : {};
  const change = { ...parseChange(saved, textField(saved, 'mac')), ...queue };
  await withNamespacesIfThere(call, async ({ sandbox }) => {
    if ((await findLink(sandbox, call.ifName)) === undefined) return;
    for (const [key, value] of Object.entries(change)) {
      const one = setLink({ name: call.ifName, [key]: value }, `give ${call.ifName} its ${key} back`);
      // As with everyone's tuning: what the device refuses to become again does not keep a container from ending.
      await sandbox.request(one).catch(() => undefined);
    }
  });
}

export const tuning: PluginType = {
  async add(call) {
    const { prevResult } = call.config;
    if (prevResult === undefined) throw invalidConfig('tuning has to be behind a plugin that makes the interface: there is no prevResult');
    const sysctls = sysctlsOf(call);
    const change = changeOf(call);
    return withNamespaces(call, async ({ sandbox, netnsFd }) => {
      for (const [name, value] of sysctls) writeSysctl(netnsFd, name, value);
      if (Object.keys(change).length > 0) {
        await backUp(call, change, await getLink(sandbox, call.ifName));
        await sandbox.request(setLink({ name: call.ifName, ...change }, `tune ${call.ifName}`));
      }
      const { mac, mtu } = await getLink(sandbox, call.ifName);
      const interfaces = prevResult.interfaces.map((one) =>
        one.sandbox !== undefined && one.name === call.ifName ? { ...one, mac, ...(one.mtu === undefined ? {} : { mtu }) } : one,
      );
      return { ...prevResult, interfaces };
    });
  },

  async del(call) {
    const file = backupFile(call);
    const saved = await readState(file);
    if (saved === undefined) return;
    await giveBack(call, objectOf(saved, file));
    await removeState(file);
  },

  check: (call) =>
    withNamespaces(call, async ({ sandbox, netnsFd }) => {
      for (const [name, value] of sysctlsOf(call)) {
        const now = readSysctl(netnsFd, name);
        if (now.split(/\s+/).join(' ') !== value.trim().split(/\s+/).join(' ')) throw checkFailure(`${name} is ${now}, not ${value}`);
      }
      const link = await getLink(sandbox, call.ifName);
      const { mac, mtu, promiscuous, allMulticast, transmitQueue } = changeOf(call);
      if (mac !== undefined && mac.toLowerCase() !== link.mac) throw checkFailure(`${call.ifName} has MAC ${link.mac}, not ${mac}`);
      if (mtu !== undefined && mtu !== link.mtu) throw checkFailure(`${call.ifName} has mtu ${link.mtu}, not ${mtu}`);
      if (promiscuous !== undefined && promiscuous !== link.promiscuous)
        throw checkFailure(`${call.ifName}: promiscuous mode is ${link.promiscuous ? 'on' : 'off'}`);
      if (allMulticast !== undefined && allMulticast !== link.allMulticast)
        throw checkFailure(`${call.ifName}: allmulti is ${link.allMulticast ? 'on' : 'off'}`);
      if (transmitQueue !== undefined && transmitQueue !== link.transmitQueue)
        throw checkFailure(`${call.ifName} has a queue of ${link.transmitQueue} packets, not ${transmitQueue}`);
    }),
};
