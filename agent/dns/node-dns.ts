// Owns the names of a node: which servers and domain its pods are told, and, where no cluster has its own, the server that answers for
// the pods. That one listens where the pods' gateways are, which the runtime tells.
import fs from 'node:fs/promises';
import net from 'node:net';
import type { CriClient } from '../../cri-proto/client.ts';
import type { Logger } from '../../runtime/logger.ts';
import { describeError } from '../error.ts';
import { chooseResolvConf } from '../node/host.ts';
import { type DnsSources, NO_RESOLV_CONF, parseResolvConf, type ResolvConf } from '../pod/dns.ts';
import { Forwarder, type Upstream } from './forwarder.ts';
import { type DnsServer, openDnsServer } from './server.ts';
import { addRange, buildZone, normalizeIp, type Zone, type ZonePod } from './zone.ts';

export interface DnsSettings {
  /** --cluster-dns: servers of a cluster; none: this node answers itself. */
  readonly clusterServers: readonly string[];
  readonly clusterDomain: string;
  /** --resolv-conf: the host's; "" for none. */
  readonly resolvConf: string;
}

export interface NodeDnsOptions extends DnsSettings {
  readonly cri: CriClient;
  readonly pods: () => readonly ZonePod[];
  /** Tells of each change of a pod; gives the way to stop it. */
  readonly subscribe: (listener: () => void) => () => void;
  readonly logger: Logger;
}

/** Where this node answers for its pods; none: why not. */
export interface NodeNames {
  readonly servers: readonly string[];
  readonly problem?: string;
}

export interface NodeDns {
  /** As things are now. */
  sources(): Promise<DnsSources>;
  /** Undefined: that is a cluster's job. */
  names(): NodeNames | undefined;
  close(): Promise<void>;
}

const PORT = 53;
const DEFAULT_RESOLV_CONF = '/etc/resolv.conf';
const SYSTEMD_UPSTREAM = '/run/systemd/resolve/resolv.conf';
const CALL_TIMEOUT_MS = 10_000;
/** As long as the bridge may take to come, or whoever has its port to go. */
const RETRY_MS = 2000;
const REREAD_MS = 1000;

/** Of a runtime's verbose status: where sandboxes reach this machine. Another runtime says nothing of it. */
interface RuntimeNetwork {
  readonly gateways: readonly string[];
  readonly podCidrs: readonly string[];
  /** Of new sandboxes; this machine may get these addresses with the first of them. */
  readonly newGateways: readonly string[];
  /** Why there are none. */
  readonly noGateway: string;
}

export async function openNodeDns(options: NodeDnsOptions): Promise<NodeDns> {
  const { clusterServers, clusterDomain, resolvConf } = options;
  await checkResolvConf(resolvConf);
  const own = clusterServers.length > 0 ? undefined : new OwnServers(options);
  await own?.ensure();
  return {
    sources: async () => ({
      host: await readResolvConf(resolvConf),
      clusterServers: own === undefined ? clusterServers : (await own.ensure()).slice(0, 1),
      clusterDomain,
    }),
    names: () => own?.names,
    close: async () => own?.close(),
  };
}

/** A host without the usual file has no name servers; a file that was asked for must be there. */
async function checkResolvConf(file: string): Promise<void> {
  if (file === '' || file === DEFAULT_RESOLV_CONF) return;
  await fs.readFile(file).catch((error: NodeJS.ErrnoException) => {
    throw new Error(`--resolv-conf ${file} cannot be read (${error.code}): give another file, or "" for no name servers`);
  });
}

/** The host's resolv.conf as a pod can use it. */
export async function readResolvConf(file: string): Promise<ResolvConf> {
  if (file === '') return NO_RESOLV_CONF;
  const read = async (name: string) => parseResolvConf(await fs.readFile(name, 'utf8').catch(() => ''));
  const host = await read(file);
  return file === DEFAULT_RESOLV_CONF ? chooseResolvConf(host, await read(SYSTEMD_UPSTREAM)) : host;
}

class OwnServers {
  readonly #options: NodeDnsOptions;
  readonly #forwarder: Forwarder;
  readonly #servers = new Map<string, DnsServer>();
  readonly #unsubscribe: () => void;
  readonly #timer: NodeJS.Timeout;
  #zone: Zone | undefined;
  #podCidrs: readonly string[] = [];
  #clients = new net.BlockList();
  #turn: Promise<unknown> = Promise.resolve();
  #upstreams: { readonly readAt: number; readonly list: readonly Upstream[] } | undefined;
  #names: NodeNames = { servers: [] };
  #said = '';
  #closed = false;

  constructor(options: NodeDnsOptions) {
    this.#options = options;
    this.#forwarder = new Forwarder(() => this.#readUpstreams());
    this.#unsubscribe = options.subscribe(() => {
      this.#zone = undefined;
    });
    this.#timer = setInterval(() => this.#servers.size === 0 && void this.ensure(), RETRY_MS);
    this.#timer.unref();
  }

  get names(): NodeNames {
    return this.#names;
  }

  /** Listens at the pods' gateways of now; gives those of new pods, of their first family first. */
  ensure(): Promise<readonly string[]> {
    const result = this.#turn.then(() => this.#ensure()).catch((error: unknown) => this.#say(describeError(error)));
    this.#turn = result;
    return result;
  }

  async #ensure(): Promise<readonly string[]> {
    if (this.#closed) return [];
    const { info } = await this.#options.cri.runtime.status({ verbose: true }, { timeoutMs: CALL_TIMEOUT_MS });
    const network = parseNetwork(info.network);
    if (network === undefined) return this.#say('this runtime tells no bridge address to answer on');
    if (network.podCidrs.join() !== this.#podCidrs.join()) {
      this.#podCidrs = network.podCidrs;
      this.#clients = new net.BlockList();
      for (const cidr of network.podCidrs) addRange(this.#clients, cidr);
      this.#zone = undefined;
    }
    const wanted = [...new Set([...network.newGateways, ...network.gateways])];
    for (const [address, server] of this.#servers) {
      if (wanted.includes(address)) continue;
      await server.close();
      this.#servers.delete(address);
    }
    const failures: string[] = [];
    for (const address of wanted) {
      if (this.#servers.has(address)) continue;
      await this.#open(address).catch((error: unknown) => failures.push(explainBind(address, error)));
    }
    const listening = network.newGateways.filter((address) => this.#servers.has(address));
    if (listening.length === 0) return this.#say(failures.join('; ') || network.noGateway);
    this.#names = { servers: listening };
    const domain = this.#options.clusterDomain;
    this.#tell(`pods find each other by name (NAME.NAMESPACE.svc.${domain}): this node answers on ${listening.join(' and ')}`);
    return listening;
  }

  async #open(address: string): Promise<void> {
    const server = await openDnsServer({
      address,
      port: PORT,
      zone: () => this.#currentZone(),
      forwarder: this.#forwarder,
      isClient: (client) => this.#clients.check(client, net.isIP(client) === 6 ? 'ipv6' : 'ipv4'),
      onFailure: (error) => this.#options.logger.warn({}, `a question for a name was not answered: ${describeError(error)}`),
    });
    this.#servers.set(address, server);
  }

  #currentZone(): Zone {
    this.#zone ??= buildZone({ domain: this.#options.clusterDomain, pods: this.#options.pods(), podCidrs: this.#podCidrs });
    return this.#zone;
  }

  /** The host's own servers, loopback ones included: they are asked from here. Never ourselves. */
  async #readUpstreams(): Promise<readonly Upstream[]> {
    const now = performance.now();
    if (this.#upstreams === undefined || now - this.#upstreams.readAt > REREAD_MS) {
      const { resolvConf } = this.#options;
      const text = resolvConf === '' ? '' : await fs.readFile(resolvConf, 'utf8').catch(() => '');
      const servers = parseResolvConf(text).servers.filter((server) => net.isIP(server) !== 0 && !this.#servers.has(normalizeIp(server)));
      this.#upstreams = { readAt: now, list: servers.map((address) => ({ address, port: PORT })) };
    }
    return this.#upstreams.list;
  }

  #say(why: string): readonly string[] {
    this.#names = { servers: [], problem: why };
    this.#tell(`pods ask the host's name servers and do not find each other by name: ${why}`);
    return [];
  }

  /** Once, until it is otherwise. */
  #tell(sentence: string): void {
    if (this.#said === sentence || this.#closed) return;
    this.#said = sentence;
    this.#options.logger.info({}, sentence);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#unsubscribe();
    this.#forwarder.close();
    await this.#turn;
    await Promise.all([...this.#servers.values()].map((server) => server.close()));
  }
}

function parseNetwork(text: string | undefined): RuntimeNetwork | undefined {
  const strings = (value: unknown): value is string[] => Array.isArray(value) && value.every((one) => typeof one === 'string');
  try {
    const { gateways, podCidrs, newGateways, noGateway } = JSON.parse(text ?? '') as Record<string, unknown>;
    if (!strings(gateways) || !strings(podCidrs) || !strings(newGateways)) return undefined;
    const ips = (addresses: readonly string[]) => addresses.filter((address) => net.isIP(address) !== 0);
    return { gateways: ips(gateways), newGateways: ips(newGateways), podCidrs, noGateway: typeof noGateway === 'string' ? noGateway : '' };
  } catch {
    return undefined;
  }
}

function explainBind(address: string, error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'EADDRINUSE')
    return `another program has port ${PORT} of ${address} ('ss -lunp sport = :${PORT}' shows it): let it listen elsewhere, or give its address to pods with --cluster-dns`;
  return `listen on ${address}: ${describeError(error)}`;
}
