// Owns sandboxes that are attached by a configuration list: the record with list, arguments and result, which DEL and CHECK need again
// after a restart and after the list has changed; and the list that new ones are attached by.

import fs from 'node:fs';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { ExplainedNetwork } from '../cri-proto/explained-network.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../runtime/linux/netlink-socket.ts';
import { LOOPBACK_INDEX, netnsIdOf, POD_INTERFACE } from './bridge.ts';
import { addChain, type ChainCall, checkChain, checkPlugins, delChain, type Executables, gcChain, hasCheck, statusChain } from './chain.ts';
import type { Attachment, AttachRequest, NetworkDescription, NetworkStatus } from './client.ts';
import { type Gateways, localGateways, plannedGateways, readHostAddresses, unique } from './conf-gateways.ts';
import { type ConfList, type LoadedConf, loadConf } from './conf-list.ts';
import { explainNetwork } from './explain.ts';
import { findConflict, type HostPortClaim } from './host-port.ts';
import { findLink, listLinks, setLinkUp } from './link.ts';
import { refuseListeners } from './listeners.ts';
import type { Fields } from './spec/config.ts';
import { EMPTY_RESULT, NEWEST, parseResult, type Result, type ResultIp, renderResult } from './spec/result.ts';
import { listState, readBootId, readState, removeState, writeState } from './state-file.ts';
import { Turns } from './turns.ts';

/** For what no event tells: a directory that is made later, and the plugins' own STATUS. */
const LOOK_INTERVAL_MS = 5000;
const SETTLE_MS = 50;

interface ConfRecord {
  readonly state: 'attaching' | 'attached';
  readonly sandboxId: string;
  readonly namespace: string;
  readonly name: string;
  readonly bootId: string;
  readonly netnsPath: string;
  readonly netnsId: string;
  readonly portMappings: AttachRequest['portMappings'];
  readonly list: ConfList;
  readonly args: readonly (readonly [string, string])[];
  readonly capabilityArgs: Fields;
  /** As of the newest version; absent until every plugin has added its part. */
  readonly result?: unknown;
  readonly mac: string;
  readonly hostInterface: string;
  /** Absent until every plugin has added its part. */
  readonly gateways?: Gateways;
}

export interface ConfNetworkOptions {
  readonly confDir: string;
  readonly executables: Executables;
  readonly stateDir: string;
  readonly onNotice: (sentence: string) => void;
  readonly faultPoint: (name: string) => void;
  /** HostPorts of sandboxes that are attached otherwise. */
  readonly otherClaims: () => Iterable<HostPortClaim>;
}

const ready: NetworkStatus = { ready: true, reason: '', message: '' };

/** An error and its causes as one sentence; what one repeats of another is not said twice. */
function sentence(error: unknown): string {
  const parts: string[] = [];
  for (let one: unknown = error; one instanceof Error; one = one.cause) {
    const { message } = one;
    if (!parts.some((part) => part.includes(message))) parts.push(message);
  }
  return parts.join(': ');
}

export class ConfNetwork {
  readonly #options: ConfNetworkOptions;
  readonly #directory: string;
  readonly #bootId: string;
  readonly #records = new Map<string, ConfRecord>();
  readonly #turns = new Turns();
  readonly #timer: NodeJS.Timeout;
  #next: Promise<void> | undefined;
  #watcher: fs.FSWatcher | undefined;
  #soon: NodeJS.Timeout | undefined;
  #loaded: LoadedConf | undefined;
  #failure: string | undefined;
  #hasLooked = false;
  #status: NetworkStatus = ready;
  #podCidrs: readonly string[] = [];

  private constructor(options: ConfNetworkOptions, bootId: string) {
    this.#options = options;
    this.#directory = path.join(options.stateDir, 'conf');
    this.#bootId = bootId;
    this.#timer = setInterval(() => void this.look(), LOOK_INTERVAL_MS);
    this.#timer.unref();
  }

  static async open(options: ConfNetworkOptions): Promise<ConfNetwork> {
    const network = new ConfNetwork(options, await readBootId());
    for (const name of await listState(network.#directory)) {
      const record = (await readState(path.join(network.#directory, name))) as ConfRecord | undefined;
      if (record === undefined) removeState(path.join(network.#directory, name));
      else network.#records.set(record.sandboxId, record);
    }
    await network.look();
    return network;
  }

  /** Whether new sandboxes are attached here: there is a configuration, or one that cannot be used. */
  get isUsed(): boolean {
    return this.#loaded !== undefined || this.#failure !== undefined;
  }

  claims(): Iterable<HostPortClaim> {
    return this.#records.values();
  }

  has(sandboxId: string): boolean {
    return this.#records.has(sandboxId);
  }

  /** Reads the directory again, and asks the plugins for their STATUS. */
  look(): Promise<void> {
    // One that has not begun will see what there is now too: a plugin that takes its time gathers no queue.
    this.#next ??= this.#turns.run('', async () => {
      this.#next = undefined;
      this.#watch();
      const before = this.#failure ?? this.#loaded?.stamp;
      try {
        this.#loaded = await loadConf(this.#options.confDir);
        this.#failure = undefined;
        if (this.#loaded !== undefined) await checkPlugins(this.#loaded.list, this.#options.executables);
      } catch (error) {
        this.#loaded = undefined;
        this.#failure = sentence(error);
      }
      const now = this.#failure ?? this.#loaded?.stamp;
      if (now !== before && this.#hasLooked) this.#options.onNotice(this.#describe());
      this.#hasLooked = true;
      this.#status = await this.#ask();
    });
    return this.#next;
  }

  #describe(): string {
    if (this.#failure !== undefined) return `new pods get no network: ${this.#failure}`;
    return this.#loaded === undefined
      ? `no network configuration in ${this.#options.confDir}: new pods get the built-in network`
      : `new pods get network ${this.#loaded.list.name} of ${this.#loaded.file}`;
  }

  /** Where the pods of lists reach this machine. */
  describe(): Omit<NetworkDescription, 'bridge'> {
    const attached = [...this.#records.values()].flatMap(({ gateways, list }) => (gateways === undefined ? [] : [{ ...gateways, list }]));
    const list = this.#loaded?.list;
    const same = attached.filter((one) => isDeepStrictEqual(one.list, list));
    // What plugins said is better than what they should say.
    const planned = list === undefined || same.length > 0 ? { addresses: [], ranges: [] } : plannedGateways(list, this.#ranges());
    const newGateways = unique([...same, planned].flatMap(({ addresses }) => addresses));
    return {
      newGateways,
      gateways: unique([...newGateways, ...attached.flatMap(({ addresses }) => addresses)]),
      podCidrs: unique([...planned.ranges, ...attached.flatMap(({ ranges }) => ranges)]),
      ...(newGateways.length > 0 || !this.isUsed ? {} : { noGateway: this.#explainNoGateway(same.length > 0) }),
    };
  }

  #explainNoGateway(isKnown: boolean): string {
    if (this.#loaded === undefined) return this.#failure ?? '';
    const { list, file } = this.#loaded;
    return isKnown
      ? `pods of network ${list.name} (${file}) have no gateway that is this machine's`
      : `network ${list.name} (${file}) does not say which address of this machine is its pods' gateway`;
  }

  async explain(sandboxId: string): Promise<ExplainedNetwork | undefined> {
    const record = this.#records.get(sandboxId);
    if (record?.state !== 'attached') return undefined;
    const { netnsPath, hostInterface, list } = record;
    const socket = new NetlinkSocket(NETLINK_ROUTE);
    try {
      return await explainNetwork({ netnsPath, hostInterface, socket, ips: attachmentOf(record).ips, confList: list.name });
    } finally {
      socket.close();
    }
  }

  #watch(): void {
    if (this.#watcher !== undefined) return;
    try {
      this.#watcher = fs.watch(this.#options.confDir, { persistent: false }, () => this.#lookSoon());
      this.#watcher.on('error', () => this.#unwatch());
    } catch {
      // Not there yet: the timer looks again.
    }
  }

  /** An editor's or installer's burst of events is one change, and a file that is being written is not read half. */
  #lookSoon(): void {
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined;
      void this.look();
    }, SETTLE_MS);
    this.#soon.unref();
  }

  #unwatch(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  async #ask(): Promise<NetworkStatus> {
    if (this.#failure !== undefined) return { ready: false, reason: 'NetworkPluginNotReady', message: this.#failure };
    if (this.#loaded === undefined) return ready;
    // A directory that was deleted and made again is watched no more.
    if (!fs.existsSync(this.#options.confDir)) this.#unwatch();
    try {
      await statusChain(this.#loaded.list, this.#options.executables, this.#ranges());
      return ready;
    } catch (error) {
      return { ready: false, reason: 'NetworkPluginNotReady', message: sentence(error) };
    }
  }

  status(): NetworkStatus {
    return this.#status;
  }

  /** For configurations whose IPAM plugin takes the capability ipRanges. */
  async setPodCidrs(cidrs: readonly string[]): Promise<void> {
    this.#podCidrs = cidrs;
    await this.look();
  }

  #ranges(): Fields {
    return this.#podCidrs.length === 0 ? {} : { ipRanges: this.#podCidrs.map((subnet) => [{ subnet }]) };
  }

  attach(request: AttachRequest): Promise<Attachment> {
    return this.#turns.run(request.sandboxId, () => this.#attach(request));
  }

  async #attach(request: AttachRequest): Promise<Attachment> {
    const { sandboxId, namespace, name, netnsFd, netnsPath, portMappings } = request;
    const netnsId = netnsIdOf(netnsFd);
    const known = this.#records.get(sandboxId);
    if (known?.state === 'attached' && known.netnsId === netnsId) return attachmentOf(known);
    if (known !== undefined) await this.#release(known);
    if (this.#loaded === undefined) throw new Error(this.#failure ?? 'there is no network configuration');
    await refuseListeners(portMappings);
    // From here to the record nothing is waited for: another attach finds it there.
    const conflict = findConflict(request, [...this.#records.values(), ...this.#options.otherClaims()]);
    if (conflict !== undefined) throw new Error(conflict);
    const record: ConfRecord = {
      state: 'attaching',
      sandboxId,
      namespace,
      name,
      bootId: this.#bootId,
      netnsPath,
      netnsId,
      portMappings,
      list: this.#loaded.list,
      args: argsOf(request),
      capabilityArgs: { ...this.#ranges(), ...capabilityArgsOf(request) },
      mac: '',
      hostInterface: '',
    };
    this.#put(record);
    this.#options.faultPoint('conf recorded');
    try {
      await setLoopbackUp(netnsFd);
      const result = await addChain(record.list, callOf(record, netnsPath), this.#options.executables);
      const { hostAddresses, ...links } = await describeLinks(netnsFd);
      const gateways = localGateways(podIps(result), result, hostAddresses);
      const attached: ConfRecord = { ...record, ...links, gateways, state: 'attached', result: renderResult(result, NEWEST) };
      if (attachmentOf(attached).ips.length === 0) throw new Error(`network ${record.list.name} gave no address for ${POD_INTERFACE}`);
      this.#put(attached);
      return attachmentOf(attached);
    } catch (error) {
      await this.#release(record).catch((undo: unknown) => {
        throw new AggregateError([error, undo], `${sentence(error)}; and taking it back: ${sentence(undo)}`);
      });
      throw error;
    }
  }

  detach(sandboxId: string): Promise<void> {
    return this.#turns.run(sandboxId, async () => {
      const record = this.#records.get(sandboxId);
      if (record !== undefined) await this.#release(record);
    });
  }

  /** When part of it fails the record stays, and a later detach or reconcile takes up where this one stopped. */
  async #release(record: ConfRecord): Promise<void> {
    const netns = isSameNetns(record, this.#bootId) ? record.netnsPath : '';
    await delChain(record.list, callOf(record, netns), resultOf(record), this.#options.executables);
    this.#options.faultPoint('conf deleted');
    removeState(this.#fileOf(record.sandboxId));
    this.#records.delete(record.sandboxId);
  }

  async reconcile(live: ReadonlySet<string>): Promise<void> {
    const failures: unknown[] = [];
    for (const record of [...this.#records.values()])
      if (record.state === 'attaching' || record.bootId !== this.#bootId || !live.has(record.sandboxId))
        await this.#turns.run(record.sandboxId, () => this.#release(record)).catch((error: unknown) => failures.push(error));
      else await this.#check(record);
    const valid = [...this.#records.values()].map(({ sandboxId }) => ({ containerID: sandboxId, ifname: POD_INTERFACE }));
    if (this.#loaded !== undefined)
      await gcChain(this.#loaded.list, valid, this.#options.executables).catch((error: unknown) => this.#options.onNotice(sentence(error)));
    if (failures.length > 0) throw new AggregateError(failures, failures.map(sentence).join('; '));
  }

  async #check(record: ConfRecord): Promise<void> {
    const result = resultOf(record);
    if (!hasCheck(record.list) || result === undefined) return;
    await checkChain(record.list, callOf(record, record.netnsPath), result, this.#options.executables).catch((error: unknown) =>
      this.#options.onNotice(`the network of ${record.namespace}/${record.name} is not as it was left: ${sentence(error)}`),
    );
  }

  #put(record: ConfRecord): void {
    writeState(this.#fileOf(record.sandboxId), record);
    this.#records.set(record.sandboxId, record);
  }

  #fileOf(sandboxId: string): string {
    return path.join(this.#directory, `${sandboxId}.json`);
  }

  close(): void {
    clearInterval(this.#timer);
    clearTimeout(this.#soon);
    this.#unwatch();
  }
}

const resultOf = ({ result }: ConfRecord): Result | undefined => (result === undefined ? undefined : parseResult(result));

function callOf({ sandboxId, args, capabilityArgs }: ConfRecord, netns: string): ChainCall {
  return { containerId: sandboxId, netns, ifName: POD_INTERFACE, args: new Map(args), capabilityArgs };
}

/** As containerd and CRI-O name them: plugins of others rely on it. */
function argsOf({ sandboxId, namespace, name, uid }: AttachRequest): [string, string][] {
  return [
    ['IgnoreUnknown', '1'],
    ['K8S_POD_NAMESPACE', namespace],
    ['K8S_POD_NAME', name],
    ['K8S_POD_INFRA_CONTAINER_ID', sandboxId],
    ...(uid === undefined ? [] : [['K8S_POD_UID', uid] satisfies [string, string]]),
  ];
}

/** By the names of CNI's conventions and, for the last two, containerd's. */
function capabilityArgsOf({ portMappings, bandwidth, dns, ips, mac, name, annotations, cgroupPath }: AttachRequest): Fields {
  return {
    aliases: [name],
    ...(portMappings.length === 0
      ? {}
      : { portMappings: portMappings.map(({ hostIp = '', ...mapping }) => ({ ...mapping, hostIP: hostIp })) }),
    ...(bandwidth === undefined ? {} : { bandwidth }),
    ...(dns === undefined ? {} : { dns }),
    ...(ips === undefined ? {} : { ips }),
    ...(mac === undefined ? {} : { mac }),
    ...(annotations === undefined ? {} : { 'io.kubernetes.cri.pod-annotations': annotations }),
    ...(cgroupPath === undefined ? {} : { cgroupPath }),
  };
}

/** Of the pod's interface, and not of others that a result names. */
function podIps({ ips, interfaces }: Result): readonly ResultIp[] {
  return ips.filter((ip) => {
    const entry = ip.interface === undefined ? undefined : interfaces[ip.interface];
    return entry === undefined || (entry.name === POD_INTERFACE && entry.sandbox !== undefined);
  });
}

function attachmentOf(record: ConfRecord): Attachment {
  const { sandboxId, mac, hostInterface } = record;
  const own = podIps(resultOf(record) ?? EMPTY_RESULT);
  return { sandboxId, ips: own.map(({ address }) => address.split('/')[0] ?? ''), mac, hostInterface, interfaceName: POD_INTERFACE };
}

function isSameNetns({ netnsPath, netnsId, bootId }: ConfRecord, now: string): boolean {
  try {
    return bootId === now && netnsIdOf(netnsPath) === netnsId;
  } catch {
    return false;
  }
}

async function setLoopbackUp(netnsFd: number): Promise<void> {
  const socket = new NetlinkSocket(NETLINK_ROUTE, netnsFd);
  try {
    await socket.request(setLinkUp(LOOPBACK_INDEX, 'lo'));
  } finally {
    socket.close();
  }
}

/** The MAC of the sandbox's interface, the host's end of it where it is a veth, and the host's addresses. */
async function describeLinks(netnsFd: number) {
  const sandbox = new NetlinkSocket(NETLINK_ROUTE, netnsFd);
  const host = new NetlinkSocket(NETLINK_ROUTE);
  try {
    const link = await findLink(sandbox, POD_INTERFACE);
    const links = await listLinks(host);
    const hostInterface = link?.kind === 'veth' ? links.find(({ index }) => index === link.parent)?.name : undefined;
    return { mac: link?.mac ?? '', hostInterface: hostInterface ?? '', hostAddresses: await readHostAddresses(host, links) };
  } finally {
    sandbox.close();
    host.close();
  }
}
