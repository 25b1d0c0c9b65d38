// What the parts of the runtime share: wired once in main.ts and handed down.
import type { Network } from '../cni/client.ts';
import type { CgroupHost } from './cgroup/cgroup.ts';
import type { Container } from './container/container.ts';
import type { ImageStore } from './image/store.ts';
import type { LogPump } from './log/pump.ts';
import type { Logger } from './logger.ts';
import type { OciRuntime } from './oci/runtimes.ts';
import type { Paths } from './paths.ts';
import type { Events } from './process/events.ts';
import type { Sandbox } from './sandbox/sandbox.ts';
import type { LifecycleEvents } from './service/lifecycle-events.ts';

export interface CgroupSettings {
  readonly host: CgroupHost;
  /** Absolute path below the hierarchies' roots; "" for their roots. */
  readonly root: string;
  /** False with --allow-no-limits on a host whose cgroups cannot be written. */
  readonly enabled: boolean;
  /** Directory of the cgroup2 hierarchy for shims and pause processes, if there is one. */
  readonly shimDir: string | undefined;
}

export interface RuntimeContext {
  readonly version: string;
  readonly logger: Logger;
  readonly paths: Paths;
  readonly bootId: string;
  readonly images: ImageStore;
  readonly network: Network;
  readonly pump: LogPump;
  readonly events: Events;
  readonly cgroups: CgroupSettings;
  readonly lifecycle: LifecycleEvents;
  readonly sandboxes: Map<string, Sandbox>;
  readonly containers: Map<string, Container>;
  /** Names in use (ids.ts) to the id that has them. */
  readonly names: Map<string, string>;
  /** External OCI runtimes by the name of their runtime handler. */
  readonly ociRuntimes: ReadonlyMap<string, OciRuntime>;
  nextRecordId(): number;
  /** Called between the steps of every walker: the crash tests die here. */
  faultPoint(name: string): void;
}
