// The one entry of cni for the runtime: attach a sandbox's network namespace, detach it, reconcile after a crash.

import type { ExplainedNetwork } from '../cri-proto/explained-network.ts';
import type { Bandwidth } from './bandwidth.ts';
import type { Dns } from './spec/result.ts';

export interface PortMapping {
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly containerPort: number;
  readonly hostPort: number;
  /** Empty or absent: every local address. */
  readonly hostIp?: string;
}

export interface AttachRequest {
  readonly sandboxId: string;
  /** A file descriptor of the network namespace, and the same as a path (/proc/<pause>/ns/net). */
  readonly netnsFd: number;
  readonly netnsPath: string;
  readonly portMappings: readonly PortMapping[];
  /** For CNI_ARGS and error messages: K8S_POD_NAMESPACE, K8S_POD_NAME. */
  readonly namespace: string;
  readonly name: string;
  readonly uid?: string;
  readonly bandwidth?: Bandwidth;
  /** What plugins of a configuration list may be told besides: the names' servers, addresses and a MAC that are asked for. */
  readonly dns?: Dns;
  readonly ips?: readonly string[];
  readonly mac?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Of the sandbox's parent, below the mount point. */
  readonly cgroupPath?: string;
}

export interface Attachment {
  readonly sandboxId: string;
  /** Addresses without prefix length, the primary first. */
  readonly ips: readonly string[];
  readonly mac: string;
  readonly hostInterface: string;
  readonly interfaceName: string;
}

export interface NetworkStatus {
  readonly ready: boolean;
  readonly reason: string;
  readonly message: string;
}

/** What pods have in common: where they reach this machine. */
export interface NetworkDescription {
  /** The built-in network's; "" where it is not opened. */
  readonly bridge: string;
  /** Ranges of pods' addresses, the primary family's first. */
  readonly podCidrs: readonly string[];
  /** Addresses of this machine, one of each range; none while the network is not ready. */
  readonly gateways: readonly string[];
  /** Those of sandboxes that are attached from now on; this machine may get them with the first of these. */
  readonly newGateways: readonly string[];
  /** Why there are none of the latter. */
  readonly noGateway?: string;
}

export interface Network {
  /** Idempotent per sandboxId: a repeated attach gives the recorded attachment. On failure nothing is left behind. */
  attach(request: AttachRequest): Promise<Attachment>;
  /** Releases addresses, hostPorts and links. Absent is success; works when the namespace is already gone. */
  detach(sandboxId: string): Promise<void>;
  /** Releases whatever belongs to sandboxes not in `live`, and puts back (nft table, bridge) whatever is missing. */
  reconcile(live: ReadonlySet<string>): Promise<void>;
  status(): NetworkStatus;
  describe(): NetworkDescription;
  /** What there is between an attached sandbox and the world; undefined for others. */
  explain(sandboxId: string): Promise<ExplainedNetwork | undefined>;
  setPodCidrs(cidrs: readonly string[]): Promise<void>;
  /** Stops watching. With `remove`, the bridge and the nft table go too (only when no sandbox is attached). */
  close(options?: { remove?: boolean }): Promise<void>;
}

export interface NetworkOptions {
  /** What a reboot ends, on a tmpfs (leases, attachments): <run-dir>/network. */
  readonly runDir: string;
  /** What plugins of configuration lists may keep beyond a reboot, and are told to release after it: <root-dir>/network. */
  readonly stateDir: string;
  /** "" for the default run-dir, else "-<hash>": makes bridge and table names unique on the host. */
  readonly suffix: string;
  readonly podCidrs: readonly string[];
  /** Networks that pods reach by their own addresses. */
  readonly nonMasqueradeCidrs?: readonly string[];
  /** Directory of network configuration lists; the first one there is takes the place of the built-in network. */
  readonly confDir?: string;
  /** Directories of plugin executables, which then win over the built-in types. Absent: the usual ones, for other types. */
  readonly binDirs?: readonly string[];
  /** Called with one sentence when the network degrades (no nf_tables: no NAT) or is repaired. */
  readonly onNotice: (sentence: string) => void;
  /** Called between the steps of attach and detach with the step's name; crash tests end the process there. */
  readonly faultPoint?: (name: string) => void;
}

export { type Bandwidth, bandwidthOf } from './bandwidth.ts';
export { parseCidr } from './ip.ts';
export { checkPodCidrs } from './ipam.ts';
export { openNetwork } from './open.ts';
