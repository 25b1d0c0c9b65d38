// Owns which network a sandbox is attached by: the configuration list of a directory where there is one, else the built-in network.
import fs from 'node:fs';
import path from 'node:path';
import type { ExplainedNetwork } from '../cri-proto/explained-network.ts';
import type { Attachment, AttachRequest, Network, NetworkDescription, NetworkOptions, NetworkStatus } from './client.ts';
import { ConfNetwork } from './conf-network.ts';
import type { HostPortClaim } from './host-port.ts';
import { openPodNetwork, type PodNetwork } from './network.ts';

/** Where distributions and other runtimes put plugins; for types that are not built in. */
const BIN_DIRS = ['/opt/cni/bin', '/usr/lib/cni', '/usr/libexec/cni'];

export async function openNetwork(options: NetworkOptions): Promise<Network> {
  if (options.confDir === undefined) return openPodNetwork(options);
  let network: SelectedNetwork | undefined;
  const conf = await ConfNetwork.open({
    confDir: options.confDir,
    executables: { directories: options.binDirs ?? BIN_DIRS, preferred: options.binDirs !== undefined },
    stateDir: options.stateDir,
    onNotice: options.onNotice,
    faultPoint: options.faultPoint ?? (() => undefined),
    otherClaims: () => network?.builtInClaims() ?? [],
  });
  network = new SelectedNetwork(options, conf);
  const records = path.join(options.runDir, 'attachments');
  if (!conf.isUsed || (fs.existsSync(records) && fs.readdirSync(records).length > 0)) await network.builtIn();
  return network;
}

class SelectedNetwork implements Network {
  readonly #options: NetworkOptions;
  readonly #conf: ConfNetwork;
  #podCidrs: readonly string[];
  /** Opened when it is first needed: a host whose pods all have another network gets no bridge of ours. */
  #builtIn: Promise<PodNetwork> | undefined;
  #opened: PodNetwork | undefined;

  constructor(options: NetworkOptions, conf: ConfNetwork) {
    this.#options = options;
    this.#conf = conf;
    this.#podCidrs = options.podCidrs;
  }

  builtIn(): Promise<Network> {
    const options = { ...this.#options, podCidrs: this.#podCidrs };
    this.#builtIn ??= openPodNetwork(options, () => this.#conf.claims()).then((network) => {
      this.#opened = network;
      return network;
    });
    return this.#builtIn;
  }

  builtInClaims(): Iterable<HostPortClaim> {
    return this.#opened?.claims() ?? [];
  }

  async attach(request: AttachRequest): Promise<Attachment> {
    if (!this.#conf.isUsed && !this.#conf.has(request.sandboxId)) return (await this.builtIn()).attach(request);
    try {
      return await this.#conf.attach(request);
    } catch (cause) {
      throw new Error(`attach sandbox ${request.sandboxId.slice(0, 12)} (${request.namespace}/${request.name}) to the network`, { cause });
    }
  }

  async detach(sandboxId: string): Promise<void> {
    await this.#conf.detach(sandboxId);
    await (await this.#builtIn)?.detach(sandboxId);
  }

  async reconcile(live: ReadonlySet<string>): Promise<void> {
    const results = await Promise.allSettled([this.#conf.reconcile(live), this.#builtIn?.then((network) => network.reconcile(live))]);
    const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []));
    if (failures.length > 0) throw new AggregateError(failures, failures.map((error) => (error as Error).message).join('; '));
  }

  status(): NetworkStatus {
    return this.#conf.isUsed || this.#opened === undefined ? this.#conf.status() : this.#opened.status();
  }

  describe(): NetworkDescription {
    const builtIn = this.#opened?.describe();
    const { gateways, podCidrs, ...conf } = this.#conf.describe();
    const { newGateways = [], noGateway } = this.#conf.isUsed ? conf : (builtIn ?? {});
    return {
      bridge: builtIn?.bridge ?? '',
      gateways: [...(builtIn?.gateways ?? []), ...gateways],
      podCidrs: [...(builtIn?.podCidrs ?? []), ...podCidrs],
      newGateways,
      ...(noGateway === undefined ? {} : { noGateway }),
    };
  }

  async explain(sandboxId: string): Promise<ExplainedNetwork | undefined> {
    return (await this.#conf.explain(sandboxId)) ?? this.#opened?.explain(sandboxId);
  }

  async setPodCidrs(cidrs: readonly string[]): Promise<void> {
    this.#podCidrs = cidrs;
    await this.#conf.setPodCidrs(cidrs);
    await (await this.#builtIn)?.setPodCidrs(cidrs);
  }

  async close(options?: { remove?: boolean }): Promise<void> {
    this.#conf.close();
    await (await this.#builtIn)?.close(options);
  }
}
