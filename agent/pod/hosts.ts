// Owns the text of a pod's /etc/hosts. Pure.
import type { V1Pod } from '@kubernetes/client-node';

const MAX_HOSTNAME = 63;

/** spec.hostname, else the pod's name, cut to what a hostname may have: a cut name does not end in a hyphen or dot. */
export function computeHostname(pod: V1Pod): string {
  const name = pod.spec?.hostname || pod.metadata?.name || '';
  return name.slice(0, MAX_HOSTNAME).replace(/[-.]+$/, '');
}

const OWN = [
  '127.0.0.1\tlocalhost',
  '::1\tlocalhost ip6-localhost ip6-loopback',
  'fe00::0\tip6-localnet',
  'fe00::0\tip6-mcastprefix',
  'fe00::1\tip6-allnodes',
  'fe00::2\tip6-allrouters',
];

/** hostFile: the host's own /etc/hosts, which pods in the host's network see. */
export function renderHosts(pod: V1Pod, ips: readonly string[], hostFile: string): string {
  const hostNetwork = pod.spec?.hostNetwork ?? false;
  const lines = hostNetwork
    ? ['# Kubernetes-managed hosts file (host network).', hostFile.trimEnd()]
    : ['# Kubernetes-managed hosts file.', ...OWN, ...ips.map((ip) => `${ip}\t${computeHostname(pod)}`)];
  const aliases = pod.spec?.hostAliases ?? [];
  if (aliases.length > 0)
    lines.push('', '# Entries added by HostAliases.', ...aliases.map(({ ip, hostnames }) => `${ip}\t${(hostnames ?? []).join('\t')}`));
  return `${lines.join('\n')}\n`;
}
