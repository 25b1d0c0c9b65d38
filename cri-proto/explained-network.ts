// What the verbose status of a sandbox says of its network, as JSON: our own word beside CRI's, from the network to the command line.

export interface ExplainedTraffic {
  readonly packets: number;
  readonly bytes: number;
  readonly errors: number;
  readonly dropped: number;
}

export interface ExplainedLink {
  readonly name: string;
  /** "bridge", "veth", …; empty for hardware. */
  readonly kind: string;
  readonly index: number;
  /** Index of a veth's other end, in its namespace; 0 for none. */
  readonly peer: number;
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  readonly addresses: readonly string[];
  /** As `ip route` has them, of this link. */
  readonly routes: readonly string[];
  readonly received: ExplainedTraffic;
  readonly sent: ExplainedTraffic;
  /** Of a bridge. */
  readonly ports?: number;
  /** Of a port of a bridge. */
  readonly port?: { readonly bridge: string; readonly hairpin: boolean; readonly isolated: boolean };
  readonly commands: readonly string[];
}

/** Of the first packets of connections, but in chains of filters. */
export interface ExplainedCount {
  readonly packets: number;
  readonly bytes: number;
}

export interface ExplainedRule {
  readonly chain: string;
  /** As nft(8) lists it, with what it has counted. */
  readonly text: string;
  readonly comment: string;
  readonly count?: ExplainedCount;
}

export interface ExplainedHostPort {
  readonly map: string;
  /** As nft(8) lists it, with what it has counted. */
  readonly element: string;
  readonly count?: ExplainedCount;
  readonly command: string;
}

export interface ExplainedNat {
  readonly table: string;
  readonly hostPorts: readonly ExplainedHostPort[];
  readonly rules: readonly ExplainedRule[];
  readonly commands: readonly string[];
}

export interface ExplainedNetwork {
  /** /proc/<pid>/ns/net */
  readonly netns: string;
  readonly ips: readonly string[];
  /** In the pod: its interface and whatever else it has, but lo. */
  readonly pod: readonly ExplainedLink[];
  /** On the machine, from the pod outwards: the veth's end, the bridge, the uplink; what is missing is not there. */
  readonly host: { readonly port?: ExplainedLink; readonly bridge?: ExplainedLink; readonly uplink?: ExplainedLink };
  /** Absent: this kernel translates no addresses, or plugins do it in their way. */
  readonly nat?: ExplainedNat;
  /** Name of the configuration list whose plugins made all this. */
  readonly confList?: string;
}
