// Owns DEL of the plugins that connect a container by a veth pair.
import { deleteLink } from '../link.ts';
import type { PluginCall } from '../spec/plugin.ts';
import { hostVethName, ipamDel } from './attachment.ts';
import { removeNat } from './nat.ts';
import { withNamespacesIfThere } from './netns.ts';

export async function disconnect(call: PluginCall): Promise<void> {
  await withNamespacesIfThere(call, ({ netnsFd }) => deleteLink(call.ifName, netnsFd));
  // Also when the namespace is gone, or ADD stopped before the peer was in it.
  await deleteLink(hostVethName(call));
  await removeNat(call);
  await ipamDel(call);
}
