// Owns <root-dir>/pods/<uid>/status.json: what the agent must still know about a pod after its own end. Written atomically.
import fs from 'node:fs/promises';
import path from 'node:path';
import type { V1PodStatus } from '@kubernetes/client-node';

export interface PodRecord {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  /** DesiredPod.hash of the pod that the directory belongs to. */
  readonly hash: string;
  readonly originFile: string;
  /** The pod has finished, and its volumes and cgroup are given back. */
  readonly released: boolean;
  readonly status: V1PodStatus;
}

const FILE = 'status.json';

export async function readRecord(podDir: string): Promise<PodRecord | undefined> {
  let text: string;
  try {
    text = await fs.readFile(path.join(podDir, FILE), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Error(`read ${path.join(podDir, FILE)}`, { cause: error });
  }
  return decodeRecord(text);
}

/** undefined for what is no record: a torn file after a power loss counts as none. */
export function decodeRecord(text: string): PodRecord | undefined {
  try {
    const record: PodRecord = JSON.parse(text, reviveTime);
    return typeof record.uid === 'string' && typeof record.hash === 'string' && typeof record.status === 'object' ? record : undefined;
  } catch {
    return undefined;
  }
}

const TIMES = new Set(['startTime', 'startedAt', 'finishedAt', 'lastTransitionTime', 'lastProbeTime']);

function reviveTime(key: string, value: unknown): unknown {
  return TIMES.has(key) && typeof value === 'string' ? new Date(value) : value;
}

/** durable: on the disk before it returns, for what must not be done twice (a finished pod never starts again). */
export async function writeRecord(podDir: string, record: PodRecord, { durable }: { durable: boolean }): Promise<void> {
  const temporary = path.join(podDir, `.${FILE}.new`);
  await fs.mkdir(podDir, { recursive: true, mode: 0o750 });
  const file = await fs.open(temporary, 'w', 0o600);
  try {
    await file.writeFile(JSON.stringify(record));
    if (durable) await file.datasync();
  } finally {
    await file.close();
  }
  await fs.rename(temporary, path.join(podDir, FILE));
}
