// Owns the DNS part of a sandbox config: dnsPolicy and dnsConfig over the cluster's name servers and the host's resolv.conf. Pure.
import type { V1Pod, V1PodDNSConfigOption } from '@kubernetes/client-node';
import type { DNSConfig } from '../../cri-proto/gen/api.ts';

// Kubernetes' limits: resolv.conf(5) has MAXNS, and clients before glibc 2.26 their own on searches.
const MAX_SERVERS = 3;
const MAX_SEARCHES = 32;
const MAX_SEARCH_CHARACTERS = 2048;
const MAX_NAME_CHARACTERS = 255;
/** So that names with up to four dots are looked for in the cluster first. */
const CLUSTER_OPTIONS = ['ndots:5'];

export interface ResolvConf {
  readonly servers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
}

/** Of a node that says it has none: nobody is to be asked. An empty one would be replaced by the runtime's own. */
export const NO_RESOLV_CONF: ResolvConf = { servers: ['127.0.0.1'], searches: ['.'], options: [] };

/** What a pod may be given. */
export interface DnsSources {
  readonly host: ResolvConf;
  /** Of the cluster, or of this node where there is none; empty: pods are told the host's. */
  readonly clusterServers: readonly string[];
  readonly clusterDomain: string;
}

export interface DnsPlan {
  readonly config: DNSConfig;
  /** What did not fit, or is not there: each is an event. */
  readonly problems: readonly { readonly reason: 'DNSConfigForming' | 'MissingClusterDNS'; readonly message: string }[];
}

export function parseResolvConf(text: string): ResolvConf {
  const servers: string[] = [];
  let searches: readonly string[] = [];
  const options = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [keyword, ...values] = line
      .replace(/[#;].*/, '')
      .trim()
      .split(/\s+/);
    if (keyword === 'nameserver' && values[0] !== undefined) servers.push(values[0]);
    // The last search line holds, and domain is its older name.
    else if (keyword === 'search' || keyword === 'domain')
      searches = values.filter((value) => value !== '.').map((value) => value.replace(/\.$/, ''));
    else if (keyword === 'options') for (const value of values) options.set(nameOf(value), value);
  }
  return { servers, searches, options: [...options.values()] };
}

const nameOf = (option: string): string => option.split(':')[0] ?? '';

type Kind = 'cluster' | 'host' | 'none';

function kindOf(pod: V1Pod): Kind {
  const { dnsPolicy = 'ClusterFirst', hostNetwork = false } = pod.spec ?? {};
  if (dnsPolicy === 'None') return 'none';
  if (dnsPolicy === 'ClusterFirstWithHostNet') return 'cluster';
  return dnsPolicy === 'ClusterFirst' && !hostNetwork ? 'cluster' : 'host';
}

export function planDns(pod: V1Pod, sources: DnsSources): DnsPlan {
  const { dnsConfig } = pod.spec ?? {};
  const kind = kindOf(pod);
  const missing = kind === 'cluster' && sources.clusterServers.length === 0;
  const base = baseOf(pod, missing ? 'host' : kind, sources);
  const unique = (values: readonly string[]) => [...new Set(values)];
  const servers = fitServers(unique([...base.servers, ...(dnsConfig?.nameservers ?? [])]));
  const searches = fitSearches(unique([...base.searches, ...(dnsConfig?.searches ?? [])]));
  const message =
    'there are no cluster name servers: the pod is told the host\'s (dnsPolicy "Default"), and does not find other pods by name';
  return {
    config: { servers: servers.kept, searches: searches.kept, options: mergeOptions(base.options, dnsConfig?.options ?? []) },
    problems: [
      ...(missing ? [{ reason: 'MissingClusterDNS', message } as const] : []),
      ...[servers.problem, searches.problem].flatMap((problem) =>
        problem === undefined ? [] : [{ reason: 'DNSConfigForming', message: problem } as const],
      ),
    ],
  };
}

function baseOf(pod: V1Pod, kind: Kind, { host, clusterServers, clusterDomain }: DnsSources): ResolvConf {
  if (kind === 'none') return { servers: [], searches: [], options: [] };
  if (kind === 'host') return host;
  const namespace = pod.metadata?.namespace ?? 'default';
  const searches = clusterDomain === '' ? [] : [`${namespace}.svc.${clusterDomain}`, `svc.${clusterDomain}`, clusterDomain];
  return { servers: clusterServers, searches: [...searches, ...(host === NO_RESOLV_CONF ? [] : host.searches)], options: CLUSTER_OPTIONS };
}

/** An option of the pod replaces that of the same name. */
function mergeOptions(base: readonly string[], given: readonly V1PodDNSConfigOption[]): string[] {
  const options = new Map(base.map((option) => [nameOf(option), option]));
  for (const { name = '', value = '' } of given) options.set(name, value === '' ? name : `${name}:${value}`);
  return [...options.values()];
}

interface Fitted {
  readonly kept: string[];
  readonly problem?: string;
}

function fitServers(servers: readonly string[]): Fitted {
  const kept = servers.slice(0, MAX_SERVERS);
  if (kept.length === servers.length) return { kept };
  return {
    kept,
    problem: `Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: ${kept.join(' ')}`,
  };
}

function fitSearches(searches: readonly string[]): Fitted {
  const kept: string[] = [];
  let characters = 0;
  for (const search of searches) {
    if (search.length > MAX_NAME_CHARACTERS) continue;
    if (kept.length === MAX_SEARCHES || characters + search.length > MAX_SEARCH_CHARACTERS) break;
    characters += search.length + 1;
    kept.push(search);
  }
  if (kept.length === searches.length) return { kept };
  return {
    kept,
    problem: `Search Line limits were exceeded, some search paths have been omitted, the applied search line is: ${kept.join(' ')}`,
  };
}
