// Owns attach, detach and reconcile: journal first, then the steps, and everything taken back when one fails.

import path from 'node:path';
import type { ExplainedNetwork } from '../cri-proto/explained-network.ts';
import { hasCode } from '../runtime/linux/errno.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../runtime/linux/netlink-socket.ts';
import { type AttachmentRecord, AttachmentRecords, attachmentOf } from './attachment.ts';
import { bandwidthStep } from './bandwidth-step.ts';
import { bridgePlugin, netnsIdOf, POD_INTERFACE, podAddress, vethName } from './bridge.ts';
import type { Attachment, AttachRequest, Network, NetworkDescription, NetworkOptions, NetworkStatus } from './client.ts';
import { explainNat, explainNetwork } from './explain.ts';
import { bridgeExists, bridgeFilter, ensureHost, type HostNetwork, usableCidrs } from './host.ts';
import { Leases } from './host-local.ts';
import type { HostPortClaim } from './host-port.ts';
import { type Cidr, type Family, formatCidr, formatIp, gatewayOf, parseCidr } from './ip.ts';
import { deleteLink } from './link.ts';
import { refuseListeners } from './listeners.ts';
import { Nat, type NatContent } from './nat.ts';
import { addAll, delAll, type Plugin, UndoError } from './plugin.ts';
import { resolvePodCidrs } from './pod-cidr.ts';
import { Portmap } from './portmap.ts';
import { listState, readBootId } from './state-file.ts';
import { Turns } from './turns.ts';

const IFNAME_CHARACTERS = 15;

/** How a kernel without nf_tables, without its inet family, or without NAT refuses the table. */
const UNSUPPORTED = ['EPROTONOSUPPORT', 'EAFNOSUPPORT', 'EOPNOTSUPP', 'ENOENT'];
const withoutNat = 'this kernel has no nf_tables: pods reach each other and this machine, but nothing beyond it, and have no hostPorts';

/** Opens the pod network. A host on which it cannot be gives a network that is not ready and says why; only wrong options throw. */
export async function openPodNetwork(options: NetworkOptions, otherClaims: () => Iterable<HostPortClaim> = () => []): Promise<PodNetwork> {
  const bridge = options.suffix === '' ? 'tsk0' : `tsk${options.suffix}`;
  if (bridge.length > IFNAME_CHARACTERS) throw new Error(`bridge name ${bridge} exceeds ${IFNAME_CHARACTERS} characters`);
  const cidrs = usableCidrs(resolvePodCidrs(options.podCidrs, options.suffix), options.onNotice);
  for (const cidr of options.nonMasqueradeCidrs ?? []) parseCidr(cidr);
  const bootId = await readBootId();
  const records = new AttachmentRecords(path.join(options.runDir, 'attachments'), bootId);
  const leases = new Leases(path.join(options.runDir, 'ipam'), bootId);
  await listState(options.runDir);
  await records.load();
  await leases.load();
  const network = new PodNetwork(options, bridge, bootId, { cidrs, records, leases, otherClaims });
  network.openNat();
  await network.refresh().catch(() => undefined);
  return network;
}

interface Parts {
  readonly cidrs: Cidr[];
  readonly records: AttachmentRecords;
  readonly leases: Leases;
  /** HostPorts of sandboxes that are attached otherwise. */
  readonly otherClaims: () => Iterable<HostPortClaim>;
}

export class PodNetwork implements Network {
  readonly #options: NetworkOptions;
  readonly #bridge: string;
  readonly #bootId: string;
  readonly #records: AttachmentRecords;
  readonly #leases: Leases;
  readonly #socket = new NetlinkSocket(NETLINK_ROUTE);
  readonly #turns = new Turns();
  readonly #portmap: Portmap;
  readonly #plugins: readonly Plugin[];
  #nat: Nat | undefined;
  readonly #faultPoint: (name: string) => void;
  #cidrs: Cidr[];
  #bridgeFilter: readonly Family[] = [];
  #host: HostNetwork | undefined;
  #status: NetworkStatus = { ready: false, reason: 'NetworkStarting', message: 'the pod network is being set up' };

  constructor(options: NetworkOptions, bridge: string, bootId: string, { cidrs, records, leases, otherClaims }: Parts) {
    this.#options = options;
    this.#faultPoint = options.faultPoint ?? (() => undefined);
    this.#bridge = bridge;
    this.#bootId = bootId;
    this.#cidrs = cidrs;
    this.#records = records;
    this.#leases = leases;
    this.#portmap = new Portmap(() => this.#nat, otherClaims);
    this.#plugins = [this.#hostLocal(), bridgePlugin(this.#socket, () => this.#ready().port), bandwidthStep(this.#socket), this.#portmap];
    for (const record of records.all()) if (record.state === 'attached') this.#portmap.resume(record);
  }

  claims(): Iterable<HostPortClaim> {
    return this.#portmap.claims();
  }

  attach(request: AttachRequest): Promise<Attachment> {
    return this.#turns.run(request.sandboxId, async () => {
      try {
        return await this.#attach(request);
      } catch (cause) {
        throw new Error(`attach sandbox ${request.sandboxId.slice(0, 12)} (${request.namespace}/${request.name}) to the network`, {
          cause,
        });
      }
    });
  }

  /** Opens the table. Without it the network works, but for NAT and hostPorts. */
  openNat(): void {
    const { runDir, onNotice } = this.#options;
    try {
      this.#nat = new Nat({
        stateFile: path.join(runDir, 'nftables.json'),
        content: () => this.#natContent(),
        onNotice,
      });
    } catch (error) {
      onNotice(`${withoutNat}: ${(error as Error).message}`);
    }
  }

  #natContent(): NatContent {
    const { suffix, nonMasqueradeCidrs = [] } = this.#options;
    return {
      table: `tskubelet${suffix}`,
      bridge: this.#bridge,
      cidrs: this.#host?.cidrs ?? this.#cidrs,
      direct: nonMasqueradeCidrs.map(parseCidr),
      bridgeFilter: this.#bridgeFilter,
      hostPorts: this.#portmap.hostPorts(),
    };
  }

  async #attach(request: AttachRequest): Promise<Attachment> {
    const { sandboxId, namespace, name, netnsFd, netnsPath, portMappings, bandwidth } = request;
    const netnsId = netnsIdOf(netnsFd);
    const known = this.#records.get(sandboxId);
    if (known?.state === 'attached' && known.netnsId === netnsId) return attachmentOf(known);
    if (known !== undefined) await this.#release(known);
    if (this.#host === undefined) await this.refresh();
    const record: AttachmentRecord = {
      state: 'attaching',
      sandboxId,
      namespace,
      name,
      bootId: this.#bootId,
      netnsPath,
      netnsId,
      hostInterface: vethName(this.#bridge, sandboxId),
      interfaceName: POD_INTERFACE,
      mac: '',
      addresses: [],
      portMappings,
      ...(bandwidth === undefined ? {} : { bandwidth }),
    };
    const attached = await this.#addAll(record, netnsFd).catch(async (error: unknown) => {
      // The bridge may have been deleted under our feet: once it is back, so is the network.
      if (error instanceof UndoError || (await bridgeExists(this.#socket, this.#ready().port))) throw error;
      await this.refresh();
      return this.#addAll(record, netnsFd);
    });
    return attachmentOf(attached);
  }

  async #addAll(record: AttachmentRecord, netnsFd: number): Promise<AttachmentRecord> {
    const faultPoint = this.#faultPoint;
    this.#portmap.claim(record);
    let sandbox: NetlinkSocket | undefined;
    try {
      await refuseListeners(record.portMappings);
      this.#records.announce(record);
      faultPoint('recorded');
      sandbox = new NetlinkSocket(NETLINK_ROUTE, netnsFd);
      const added = await addAll(this.#plugins, record, { netnsFd, sandbox }, faultPoint);
      const attached: AttachmentRecord = { ...added, state: 'attached' };
      this.#records.put(attached);
      return attached;
    } catch (error) {
      const undo = await delAll(this.#plugins, record, faultPoint);
      if (undo.length > 0) throw new UndoError(error, undo);
      this.#records.delete(record.sandboxId);
      throw error;
    } finally {
      sandbox?.close();
    }
  }

  #hostLocal(): Plugin {
    return {
      type: 'host-local',
      add: async (record) => ({
        ...record,
        addresses: this.#cidrs.map((cidr) => podAddress(cidr, this.#leases.add(cidr, record.sandboxId))),
      }),
      del: async ({ sandboxId }) => this.#leases.del(sandboxId),
    };
  }

  detach(sandboxId: string): Promise<void> {
    return this.#turns.run(sandboxId, async () => {
      const record = this.#records.get(sandboxId);
      if (record !== undefined) await this.#release(record);
    });
  }

  /** When part of it fails, the record stays, and a later detach or reconcile takes up where this one stopped. */
  async #release(record: AttachmentRecord): Promise<void> {
    const failures = await delAll(this.#plugins, record, this.#faultPoint);
    if (failures.length > 0) throw new Error(`detach sandbox ${record.sandboxId.slice(0, 12)} from the network`, { cause: failures[0] });
    this.#records.delete(record.sandboxId);
  }

  async reconcile(live: ReadonlySet<string>): Promise<void> {
    const failures: unknown[] = [];
    const gone = this.#records.all().map(({ sandboxId }) => sandboxId);
    for (const sandboxId of gone) {
      await this.#turns
        .run(sandboxId, async () => {
          const record = this.#records.get(sandboxId);
          if (record !== undefined && (record.state === 'attaching' || !live.has(sandboxId))) await this.#release(record);
        })
        .catch((error: unknown) => failures.push(error));
    }
    for (const holder of this.#leases.holders()) if (this.#records.get(holder) === undefined) this.#leases.del(holder);
    await this.refresh().catch((error: unknown) => failures.push(error));
    if (failures.length > 0) throw new AggregateError(failures, failures.map((error) => (error as Error).message).join('; '));
  }

  /** Puts the host's side right. One at a time. */
  refresh(): Promise<void> {
    return this.#turns.run('', async () => {
      try {
        this.#host = await ensureHost(this.#socket, {
          bridge: this.#bridge,
          podCidrs: this.#cidrs,
          records: this.#records.all(),
          onNotice: this.#options.onNotice,
        });
        this.#bridgeFilter = bridgeFilter();
        await this.#ensureNat();
        this.#status = { ready: true, reason: '', message: '' };
      } catch (error) {
        this.#host = undefined;
        this.#status = { ready: false, reason: 'NetworkNotReady', message: (error as Error).message };
        throw error;
      }
    });
  }

  async #ensureNat(): Promise<void> {
    try {
      await this.#nat?.ensure();
    } catch (error) {
      if (!hasCode(error, ...UNSUPPORTED)) throw error;
      await this.#nat?.close({ remove: false });
      this.#nat = undefined;
      this.#options.onNotice(`${withoutNat}: ${(error as Error).message}`);
    }
  }

  #ready(): HostNetwork {
    if (this.#host === undefined) throw new Error(this.#status.message);
    return this.#host;
  }

  status(): NetworkStatus {
    return this.#status;
  }

  describe(): NetworkDescription {
    const served = this.#host?.cidrs ?? [];
    const gateways = served.map((cidr) => formatIp(gatewayOf(cidr)));
    return {
      bridge: this.#bridge,
      podCidrs: (served.length > 0 ? served : this.#cidrs).map(formatCidr),
      gateways,
      newGateways: gateways,
      ...(gateways.length > 0 ? {} : { noGateway: this.#status.message || 'the pod network is not ready' }),
    };
  }

  async explain(sandboxId: string): Promise<ExplainedNetwork | undefined> {
    const record = this.#records.get(sandboxId);
    if (record?.state !== 'attached') return undefined;
    const { netnsPath, hostInterface, addresses } = record;
    return explainNetwork({
      ...{ netnsPath, hostInterface, socket: this.#socket, ips: addresses.map(({ address }) => address) },
      ...(this.#nat === undefined ? {} : { nat: explainNat(record, this.#natContent(), await this.#nat.counted()) }),
    });
  }

  async setPodCidrs(configured: readonly string[]): Promise<void> {
    this.#cidrs = usableCidrs(resolvePodCidrs(configured, this.#options.suffix), this.#options.onNotice);
    await this.refresh();
  }

  async close({ remove = false }: { remove?: boolean } = {}): Promise<void> {
    const attached = this.#records.all().length;
    if (remove && attached > 0) throw new Error(`the pod network has ${attached} attached sandboxes and stays`);
    await this.#nat?.close({ remove });
    if (remove) await deleteLink(this.#bridge);
    this.#socket.close();
  }
}
