// What the network's root tests share: a network with two ranges, attaching a peer to it, and an outside that reaches the host.
import type { Attachment, Network, NetworkOptions, PortMapping } from '../client.ts';
import { openNetwork } from '../client.ts';
import { type Namespace, type Peer, run, startPeer, temporaryDirectory } from './host.ts';

export interface OpenNetwork {
  readonly network: Network;
  readonly stateDir: string;
  /** What onNotice was told, in order. */
  readonly notices: string[];
}

export async function open(options: Partial<NetworkOptions> = {}): Promise<OpenNetwork> {
  const notices: string[] = [];
  const stateDir = options.stateDir ?? temporaryDirectory();
  const network = await openNetwork({
    suffix: '',
    podCidrs: ['10.244.0.0/24', 'fd00:244::/64'],
    onNotice: (sentence) => notices.push(sentence),
    ...options,
    runDir: stateDir,
    stateDir,
  });
  return { network, stateDir, notices };
}

/** The sandbox is called as the peer is. */
export function attach(
  network: Network,
  { name, netnsFd, netnsPath }: Pick<Peer, 'name' | 'netnsFd' | 'netnsPath'>,
  portMappings: readonly PortMapping[] = [],
): Promise<Attachment> {
  return network.attach({ sandboxId: name, netnsFd, netnsPath, portMappings, namespace: 'default', name });
}

export function addressOf({ ips }: Attachment): string {
  return ips[0] ?? '';
}

/** A machine beside the host: 192.0.2.2 and 2001:db8::2, reached by the host's default routes; the host is .1 there. */
export async function openOutside(): Promise<Peer> {
  const outside = await startPeer('outside');
  connectOutside(outside);
  return outside;
}

export function connectOutside(outside: Namespace): void {
  run(`ip link add uplink type veth peer name eth0 netns ${outside.netnsPath}`);
  run('ip addr add 192.0.2.1/24 dev uplink; ip addr add 2001:db8::1/64 dev uplink nodad; ip link set uplink up mtu 1400');
  outside.run('ip addr add 192.0.2.2/24 dev eth0; ip addr add 2001:db8::2/64 dev eth0 nodad; ip link set eth0 up');
  run('ip route add default via 192.0.2.2; ip route add default via 2001:db8::2');
}
