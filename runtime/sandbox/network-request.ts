// Owns what the network is asked for on behalf of a sandbox: hostPorts, names, and limits and addresses that annotations ask for.
import { type AttachRequest, bandwidthOf, type PortMapping } from '../../cni/client.ts';
import { type PodSandboxConfig, Protocol } from '../../cri-proto/gen/api.ts';
import { invalidArgument } from '../errors.ts';

/** For networks of a configuration list whose plugins have these capabilities. */
const IPS = 'tskubelet.dev/ips';
const MAC = 'tskubelet.dev/mac';

function planPortMappings(config: PodSandboxConfig): readonly PortMapping[] {
  const protocols = { [Protocol.TCP]: 'tcp', [Protocol.UDP]: 'udp', [Protocol.SCTP]: 'sctp' } as const;
  return config.portMappings
    .filter(({ hostPort }) => hostPort !== 0)
    .map(({ protocol, hostPort, containerPort, hostIp }) => ({
      protocol: protocols[protocol as keyof typeof protocols] ?? 'tcp',
      hostPort,
      containerPort,
      ...(hostIp === '' ? {} : { hostIp }),
    }));
}

function bandwidthFor({ annotations }: PodSandboxConfig) {
  try {
    return bandwidthOf(annotations);
  } catch (error) {
    throw invalidArgument((error as Error).message);
  }
}

/** Throws what cannot be asked for. */
export function planNetworkRequest(config: PodSandboxConfig): Omit<AttachRequest, 'sandboxId' | 'netnsFd' | 'netnsPath'> {
  const { metadata, annotations, dnsConfig, linux } = config;
  const bandwidth = bandwidthFor(config);
  const { [IPS]: ips, [MAC]: mac } = annotations;
  return {
    portMappings: planPortMappings(config),
    namespace: metadata?.namespace ?? '',
    name: metadata?.name ?? '',
    uid: metadata?.uid ?? '',
    ...(bandwidth === undefined ? {} : { bandwidth }),
    ...(ips === undefined ? {} : { ips: ips.split(',').map((ip) => ip.trim()) }),
    ...(mac === undefined ? {} : { mac }),
    annotations,
    ...(linux?.cgroupParent ? { cgroupPath: linux.cgroupParent } : {}),
    ...(dnsConfig === undefined ? {} : { dns: { nameservers: dnsConfig.servers, search: dnsConfig.searches, options: dnsConfig.options } }),
  };
}
