// Owns the text of a pod's /etc/hosts. Pure.
import type { V1Pod } from '@kubernetes/client-node';

const MAX_HOSTNAME = 63;

/** spec.hostname, else the pod's name, cut to what a hostname may have: a cut name does not end in a hyphen or dot. */
export function computeHostname(pod: V1Pod): string {
  const name = pod.spec?.hostname || pod.metadata?.name || '';
  return name.slice(0, MAX_HOSTNAME).replace(/[-.]+$/, '');
}

/** hostname.subdomain.namespace.svc.domain; undefined without a subdomain. */
export function computeFqdn(pod: V1Pod, clusterDomain: string): string | undefined {
  const { subdomain = '' } = pod.spec ?? {};
  const { namespace = 'default' } = pod.metadata ?? {};
  return subdomain === '' ? undefined : `${computeHostname(pod)}.${subdomain}.${namespace}.svc.${clusterDomain}`;
}

// sethostname(2): __NEW_UTS_LEN.
const MAX_KERNEL_HOSTNAME = 64;

/** What uname(2) says in the pod: the whole name with spec.setHostnameAsFQDN. */
export function computeKernelHostname(pod: V1Pod, clusterDomain: string): string {
  const fqdn = pod.spec?.setHostnameAsFQDN ? computeFqdn(pod, clusterDomain) : undefined;
  if (fqdn !== undefined && fqdn.length > MAX_KERNEL_HOSTNAME)
    throw new Error(
      `setHostnameAsFQDN: ${fqdn} has ${fqdn.length} characters and a hostname at most ${MAX_KERNEL_HOSTNAME}: shorten hostname, subdomain or namespace`,
    );
  return fqdn ?? computeHostname(pod);
}

const OWN = [
  '127.0.0.1\tlocalhost',
  '::1\tlocalhost ip6-localhost ip6-loopback',
  'fe00::0\tip6-localnet',
  'fe00::0\tip6-mcastprefix',
  'fe00::1\tip6-allnodes',
  'fe00::2\tip6-allrouters',
];

export interface HostsSources {
  /** The host's own /etc/hosts, which pods in the host's network see. */
  readonly hostFile: string;
  readonly clusterDomain: string;
}

export function renderHosts(pod: V1Pod, ips: readonly string[], { hostFile, clusterDomain }: HostsSources): string {
  const hostNetwork = pod.spec?.hostNetwork ?? false;
  const lines = hostNetwork
    ? ['# Kubernetes-managed hosts file (host network).', hostFile.trimEnd()]
    : [
        '# Kubernetes-managed hosts file.',
        ...OWN,
        ...ips.map((ip) => [ip, computeFqdn(pod, clusterDomain), computeHostname(pod)].filter(Boolean).join('\t')),
      ];
  const aliases = pod.spec?.hostAliases ?? [];
  if (aliases.length > 0)
    lines.push('', '# Entries added by HostAliases.', ...aliases.map(({ ip, hostnames }) => `${ip}\t${(hostnames ?? []).join('\t')}`));
  return `${lines.join('\n')}\n`;
}
