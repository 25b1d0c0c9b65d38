// Owns what the disk knows of a sandbox, and the states that it goes through.
//
//              run                  stop, or pause died             remove
//   (absent) ──────▶ creating ──▶ ready ──────────▶ notReady ──────────────▶ (absent)
//                       │                              ▲
//                       └── failed, undone ▶ (absent)  │
//                       └── failed, undo failed ───────┘  (the client may stop and remove it again)
//
// A record is written before the first effect that it owns and deleted after the last one is undone.
import { Buffer } from 'node:buffer';
import { PodSandboxConfig } from '../../cri-proto/gen/api.ts';
import type { ProcessIdentity } from '../state/process-identity.ts';

export type SandboxState = 'creating' | 'ready' | 'notReady';

export interface SandboxRecord {
  readonly id: string;
  /** The number that the event FIFO's records carry for the pause process. */
  readonly recordId: number;
  readonly createdAt: bigint;
  readonly config: PodSandboxConfig;
  readonly runtimeHandler: string;
  readonly state: SandboxState;
  readonly bootId: string;
  readonly pause?: ProcessIdentity;
  readonly ips: readonly string[];
  /** True from before the first network effect until detach has succeeded. */
  readonly networkAttached: boolean;
  /** Its containers are being made from a checkpoint: nobody has been told its id. */
  readonly restoring?: boolean;
}

/** The record as JSON: the config as protobuf bytes, so that fields unknown to us survive a restart. */
export function encodeSandboxRecord(record: SandboxRecord): unknown {
  return {
    ...record,
    createdAt: String(record.createdAt),
    config: Buffer.from(PodSandboxConfig.encode(record.config).finish()).toString('base64'),
  };
}

/** Undefined when the file is not a sandbox record. */
export function decodeSandboxRecord(json: unknown): SandboxRecord | undefined {
  if (typeof json !== 'object' || json === null) return undefined;
  const raw = json as SandboxRecord & { createdAt: string; config: string };
  if (typeof raw.id !== 'string' || typeof raw.config !== 'string') return undefined;
  return { ...raw, createdAt: BigInt(raw.createdAt), config: PodSandboxConfig.decode(Buffer.from(raw.config, 'base64')) };
}
