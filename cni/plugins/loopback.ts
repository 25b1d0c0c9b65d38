// Owns the plugin loopback: lo of the network namespace is up, or down after DEL.
import { listAddresses } from '../address.ts';
import { formatIp } from '../ip.ts';
import { getLink, setLink, setLinkUp } from '../link.ts';
import { checkFailure } from '../spec/error.ts';
import type { PluginType } from '../spec/plugin.ts';
import { withNamespaces, withNamespacesIfThere } from './netns.ts';

export const loopback: PluginType = {
  add: (call) =>
    withNamespaces(call, async ({ sandbox }) => {
      const { index, name, mac } = await getLink(sandbox, 'lo');
      await sandbox.request(setLinkUp(index, name));
      // In a chain the result is that of the plugins before.
      if (call.config.prevResult !== undefined) return call.config.prevResult;
      const addresses = (await listAddresses(sandbox)).filter(({ linkIndex }) => linkIndex === index);
      return {
        interfaces: [{ name, mac, sandbox: call.netns }],
        ips: addresses.map(({ address, prefixLength }) => ({ address: `${formatIp(address)}/${prefixLength}`, interface: 0 })),
        routes: [],
        dns: {},
      };
    }),

  del: (call) =>
    withNamespacesIfThere(call, async ({ sandbox }) => {
      await sandbox.request(setLink({ name: 'lo', up: false }, 'set lo down'));
    }),

  check: (call) =>
    withNamespaces(call, async ({ sandbox }) => {
      if (!(await getLink(sandbox, 'lo')).up) throw checkFailure('interface lo is down');
    }),
};
