// What the command line needs of the runtime: agent/ may not import runtime/, so main.ts hands this in. Loaded when it is asked for.

import type { Images } from '../../cri-proto/images.ts';
import type { Logger } from '../../runtime/logger.ts';

/** Where exec, attach and port-forward are served. */
export interface StreamingListen {
  /** 127.0.0.1 unless said otherwise. */
  readonly address?: string;
  /** A free one unless said otherwise. */
  readonly port?: number;
  /** PEM files. */
  readonly tls?: { readonly certFile: string; readonly keyFile: string };
  readonly idleMs?: number;
}

export interface RuntimeStart {
  readonly rootDir: string;
  readonly runDir: string;
  readonly version: string;
  readonly logger: Logger;
  /** None: the defaults. */
  readonly podCidrs: readonly string[];
  readonly nonMasqueradeCidrs: readonly string[];
  readonly cniConfDir?: string;
  readonly cniBinDirs?: readonly string[];
  readonly cgroupRoot?: string;
  readonly registryConfigDir?: string;
  readonly runtimeHandlers: Readonly<Record<string, string>>;
  readonly allowNoLimits: boolean;
  readonly streaming?: StreamingListen;
}

export interface EmbeddedRuntime {
  readonly socket: string;
  /** Containers run on; the number of sandboxes that are left. With none left, what was made for this node on the machine goes too. */
  close(): Promise<number>;
}

export interface DryRunConfigs {
  /** Encoded runtime.v1 PodSandboxConfig and ContainerConfigs, as a kubelet would send them. */
  readonly sandbox: Uint8Array;
  readonly containers: readonly Uint8Array[];
  readonly rootDir: string;
  readonly runDir: string;
  /** The external OCI runtime of the pod's runtimeClassName. */
  readonly ociRuntime?: string;
}

export interface ExplainedStep {
  readonly number: number;
  readonly phase: string;
  readonly call: string;
  readonly note?: string;
  /** The CRI field that is responsible, as api.proto names it; a mount by its target: "mounts /data". */
  readonly field?: string;
}

export interface ExplainedStart {
  readonly steps: readonly ExplainedStep[];
  /** What an external OCI runtime is given, where one makes the container. */
  readonly oci?: { readonly runtime: string; readonly bundle: string; readonly config: object };
  readonly cgroup?: {
    readonly path: string;
    readonly writes: readonly { readonly controller: string; readonly file: string; readonly value: string }[];
    readonly unexpressed: readonly { readonly intent: string; readonly reason: string }[];
  };
}

export interface ExplainedDryRun {
  readonly sandbox: ExplainedStart;
  readonly containers: readonly (ExplainedStart & { readonly name: string })[];
}

export interface RuntimeHalf {
  /** "" for the default run-dir, else what makes this node's names on the machine its own. */
  readonly nodeSuffix: (runDir: string) => string;
  start(options: RuntimeStart): Promise<EmbeddedRuntime>;
  /** The store of a root-dir that no daemon works on; refused under a daemon's lock. */
  openImages(options: { rootDir: string; runDir: string; logger: Logger; registryConfigDir?: string }): Promise<Images>;
  /** One call of a CNI plugin by its environment and stdin; an empty type is that of the configuration. */
  serveCni(type: string): Promise<{ readonly exitCode: number; readonly output: string }>;
  /** The plugin types that there are. */
  cniTypes(): Promise<readonly string[]>;
  explainStart(configs: DryRunConfigs): Promise<ExplainedDryRun>;
}
