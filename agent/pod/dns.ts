// Owns the DNS part of a sandbox config: dnsPolicy and dnsConfig over the host's resolv.conf. Pure.
import type { V1Pod } from '@kubernetes/client-node';
import type { DNSConfig } from '../../cri-proto/gen/api.ts';

// resolv.conf(5): MAXNS; glibc 2.26 lifted its own limit on searches, these are Kubernetes'.
const MAX_SERVERS = 3;
const MAX_SEARCHES = 32;

export interface ResolvConf {
  readonly servers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
}

export function parseResolvConf(text: string): ResolvConf {
  const servers: string[] = [];
  let searches: readonly string[] = [];
  let options: readonly string[] = [];
  for (const line of text.split('\n')) {
    const [keyword, ...values] = line
      .replace(/[#;].*/, '')
      .trim()
      .split(/\s+/);
    if (keyword === 'nameserver' && values[0] !== undefined) servers.push(values[0]);
    // The last search line holds, and domain is its older name.
    else if (keyword === 'search' || keyword === 'domain') searches = values.filter((value) => value !== '.');
    else if (keyword === 'options') options = values;
  }
  return { servers, searches, options };
}

/** ClusterFirst without a cluster behaves as Default, which is the host's. */
export function planDns(pod: V1Pod, host: ResolvConf): DNSConfig {
  const { dnsPolicy, dnsConfig } = pod.spec ?? {};
  const base = dnsPolicy === 'None' ? { servers: [], searches: [], options: [] } : host;
  const given = (dnsConfig?.options ?? []).map(({ name, value }) =>
    value === undefined || value === '' ? (name ?? '') : `${name}:${value}`,
  );
  const names = new Set(given.map((option) => option.split(':')[0]));
  const unique = (values: readonly string[]) => [...new Set(values)];
  return {
    servers: unique([...base.servers, ...(dnsConfig?.nameservers ?? [])]).slice(0, MAX_SERVERS),
    searches: unique([...base.searches, ...(dnsConfig?.searches ?? [])]).slice(0, MAX_SEARCHES),
    // An option of the pod replaces the host's of the same name.
    options: [...base.options.filter((option) => !names.has(option.split(':')[0])), ...given],
  };
}
