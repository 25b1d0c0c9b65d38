// Owns what the disk knows of a container, and the states that it goes through.
//
//             create               start                     init ended          remove
//   (absent) ───────▶ creating ▶ created ───▶ starting ──▶ running ────▶ exited ───────▶ removing ▶ (absent)
//                                   │             │ failed: StartError      ▲
//                                   │             └──────────────────────────┤
//                                   └── stop of its sandbox ─────────────────┘
//
// A record is written before the first effect that it owns and deleted after the last one is undone.
import { Buffer } from 'node:buffer';
import { ContainerConfig } from '../../cri-proto/gen/api.ts';
import type { Externals } from '../checkpoint/externals.ts';
import type { ImageConfig } from '../image/store.ts';
import type { Identity } from '../program/spec.ts';
import type { ProcessIdentity } from '../state/process-identity.ts';

export type ContainerState = 'creating' | 'created' | 'starting' | 'running' | 'exited' | 'removing';

export interface ExitRecord {
  readonly code: number;
  readonly finishedAt: bigint;
  /** Completed, Error, OOMKilled, StartError, Unknown. */
  readonly reason: string;
  readonly message: string;
}

export interface RestoreRecord {
  /** Path of the archive. */
  readonly checkpoint: string;
  readonly checkpointedAt: string;
  /** Known once the archive is unpacked. */
  readonly externals?: Externals;
}

export interface ContainerRecord {
  readonly id: string;
  readonly sandboxId: string;
  /** The number that the event FIFO's records carry for this container. */
  readonly recordId: number;
  readonly createdAt: bigint;
  readonly config: ContainerConfig;
  readonly imageId: string;
  /** Kept, for the image may be removed while the container is there: its layers stay then, its name and config go. */
  readonly imageConfig: ImageConfig;
  /** The executable of the external OCI runtime that makes it; absent: ours does. */
  readonly ociRuntime?: string;
  /** The checkpoint that it starts from. */
  readonly restore?: RestoreRecord;
  /** Its cgroup is frozen for the checkpoint of its sandbox. */
  readonly frozen?: boolean;
  readonly state: ContainerState;
  readonly bootId: string;
  /** Resolved by create (resolve.ts): whom it runs as, the text of its seccomp profile, the name of its AppArmor profile. */
  readonly user?: Identity;
  readonly seccompProfile?: string;
  readonly apparmorProfile?: string;
  /** Files of cgroup2 that annotations ask for. */
  readonly unified?: Readonly<Record<string, string>>;
  readonly logPath: string;
  /** Path of its cgroup below the hierarchies' roots; empty without cgroups. */
  readonly cgroupPath: string;
  readonly startedAt: bigint;
  readonly shim?: ProcessIdentity;
  readonly initPid?: number;
  readonly exit?: ExitRecord;
  /** The stop signal is sent once, however often the client asks to stop. */
  readonly stopSignalSent: boolean;
  /** OOM kills in its cgroup that were seen so far. */
  readonly oomKills: number;
  /** Milliseconds per phase of create and start, for explain. */
  readonly phases: Readonly<Record<string, number>>;
}

export function encodeContainerRecord(record: ContainerRecord): unknown {
  const { exit } = record;
  return {
    ...record,
    createdAt: String(record.createdAt),
    startedAt: String(record.startedAt),
    ...(exit === undefined ? {} : { exit: { ...exit, finishedAt: String(exit.finishedAt) } }),
    config: Buffer.from(ContainerConfig.encode(record.config).finish()).toString('base64'),
  };
}

/** Undefined when the file is not a container record. */
export function decodeContainerRecord(json: unknown): ContainerRecord | undefined {
  if (typeof json !== 'object' || json === null) return undefined;
  const raw = json as Omit<ContainerRecord, 'config' | 'exit'> & { config: string; exit?: ExitRecord };
  if (typeof raw.id !== 'string' || typeof raw.config !== 'string') return undefined;
  return {
    ...raw,
    createdAt: BigInt(raw.createdAt),
    startedAt: BigInt(raw.startedAt),
    config: ContainerConfig.decode(Buffer.from(raw.config, 'base64')),
    ...(raw.exit === undefined ? {} : { exit: { ...raw.exit, finishedAt: BigInt(raw.exit.finishedAt) } }),
  };
}
