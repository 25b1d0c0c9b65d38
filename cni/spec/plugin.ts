// What a CNI plugin is here: functions over one call, the same in this process and behind an executable's environment and stdin.
import type { NetworkConfig } from './config.ts';
import type { Result } from './result.ts';

export interface PluginCall {
  readonly config: NetworkConfig;
  readonly containerId: string;
  /** Path of the network namespace; empty in DEL when it is gone already. */
  readonly netns: string;
  readonly ifName: string;
  /** CNI_ARGS. */
  readonly args: ReadonlyMap<string, string>;
  /** CNI_PATH: where executables of other types are. */
  readonly path: readonly string[];
}

export interface Attachment {
  readonly containerID: string;
  readonly ifname: string;
}

/** STATUS and GC are about a network, not a container. */
export type NetworkCall = Pick<PluginCall, 'config' | 'path'>;

export interface PluginType {
  add(call: PluginCall): Promise<Result>;
  /** Absent is success. */
  del(call: PluginCall): Promise<void>;
  /** Throws what is not as ADD left it. */
  check(call: PluginCall): Promise<void>;
  /** Throws why no ADD can be served. */
  status?(call: NetworkCall): Promise<void>;
  /** Takes back whatever belongs to this network and to no valid attachment. */
  gc?(call: NetworkCall, valid: readonly Attachment[]): Promise<void>;
}
