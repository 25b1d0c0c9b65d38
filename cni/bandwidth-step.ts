// Owns the bandwidth step of the built-in network: limits on the host's end of a sandbox's veth.
import type { NetlinkSocket } from '../runtime/linux/netlink-socket.ts';
import { addBandwidth, ifbName } from './bandwidth.ts';
import { deleteLink, getLink } from './link.ts';
import type { Plugin } from './plugin.ts';

export function bandwidthStep(socket: NetlinkSocket): Plugin {
  return {
    type: 'bandwidth',
    add: async (record) => {
      const { bandwidth, hostInterface } = record;
      if (bandwidth !== undefined) await addBandwidth(socket, await getLink(socket, hostInterface), bandwidth);
      return record;
    },
    // The queues of the veth go with it.
    del: async ({ bandwidth, hostInterface }) => {
      if (bandwidth?.egressRate !== undefined) await deleteLink(ifbName(hostInterface));
    },
  };
}
