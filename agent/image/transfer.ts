// Owns what people are told of a transfer under way: share, bytes, speed, and the time that is left. Pure.
import type { TransferLayer } from '../../cri-proto/images.ts';
import { renderSize } from '../cli/table.ts';

/** Layers that are there already are not transferred: their bytes would make the rest look fast. */
const FREE = new Set(['cached', 'present', 'mounted']);

export const isFree = ({ state }: TransferLayer): boolean => FREE.has(state);
export const isDone = (layer: TransferLayer): boolean => layer.state === 'done' || isFree(layer);

export interface Sample {
  readonly atMs: number;
  readonly bytes: number;
}

/** Speed is that of the last seconds: an average over all would go on promising what was true in the beginning. */
const WINDOW_MS = 5_000;
const SHORTEST_MS = 500;
/** Nothing for so long is no lump any more: the speed goes down from here. */
const STALE_MS = 1_500;

export function addSample(samples: readonly Sample[], sample: Sample): readonly Sample[] {
  // Bytes come in lumps: a look between two of them says nothing about the speed.
  if (samples.at(-1)?.bytes === sample.bytes) return samples;
  // The last one before the window stays: the speed is measured from there.
  const from = samples.findLastIndex(({ atMs }) => atMs <= sample.atMs - WINDOW_MS);
  return [...samples.slice(Math.max(from, 0)), sample];
}

export interface Transfer {
  readonly doneBytes: number;
  readonly totalBytes: number;
  /** undefined while too little is known. */
  readonly bytesPerSecond?: number;
  readonly leftSeconds?: number;
  /** Everything has arrived; layers are still unpacked. */
  readonly unpacking: boolean;
}

export function computeTransfer(layers: readonly TransferLayer[], samples: readonly Sample[], nowMs: number): Transfer {
  const moving = layers.filter((layer) => !isFree(layer));
  const totalBytes = moving.reduce((sum, layer) => sum + layer.totalBytes, 0);
  const doneBytes = moving.reduce((sum, layer) => sum + (layer.state === 'done' ? layer.totalBytes : layer.doneBytes), 0);
  const first = samples[0];
  const lastMs = samples.at(-1)?.atMs ?? nowMs;
  const untilMs = nowMs - lastMs > STALE_MS || samples.length === 1 ? nowMs : lastMs;
  const unpacking = moving.length > 0 && moving.every(({ state }) => state === 'unpacking' || state === 'done');
  const elapsedMs = first === undefined ? 0 : untilMs - first.atMs;
  const base = { doneBytes, totalBytes, unpacking };
  if (first === undefined || elapsedMs < SHORTEST_MS) return base;
  const bytesPerSecond = Math.max(0, ((doneBytes - first.bytes) * 1000) / elapsedMs);
  if (unpacking || bytesPerSecond === 0) return { ...base, bytesPerSecond };
  return { ...base, bytesPerSecond, leftSeconds: Math.ceil((totalBytes - doneBytes) / bytesPerSecond) };
}

/** Whole per cent, downwards: 100 is said when it is true. */
export function percentOf({ doneBytes, totalBytes }: Pick<Transfer, 'doneBytes' | 'totalBytes'>): number {
  return totalBytes === 0 ? 0 : Math.floor((doneBytes * 100) / totalBytes);
}

/** "120/280MB", both in the unit of the larger one. */
export function renderBytes({ doneBytes, totalBytes }: Pick<Transfer, 'doneBytes' | 'totalBytes'>): string {
  const total = renderSize(totalBytes);
  const unit = total.replace(/^[\d.]+/, '');
  const scale = { B: 1, kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 }[unit] ?? 1;
  const done = doneBytes / scale;
  return `${done === 0 ? 0 : done < 100 && unit !== 'B' ? done.toFixed(1) : Math.floor(done)}/${total}`;
}

/** "4s", "1m20s", "2h5m" */
export function renderLeft(seconds: number): string {
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m${seconds % 60 === 0 ? '' : `${seconds % 60}s`}`;
  const minutes = Math.floor((seconds % 3600) / 60);
  return `${Math.floor(seconds / 3600)}h${minutes === 0 ? '' : `${minutes}m`}`;
}

/** "43 %, 120/280MB, 31MB/s, ~4 s left" */
export function renderTransfer(transfer: Transfer): string {
  const { bytesPerSecond, leftSeconds, totalBytes, unpacking } = transfer;
  if (totalBytes === 0) return unpacking ? 'unpacking' : 'starting';
  const parts = [`${percentOf(transfer)} %`, renderBytes(transfer)];
  if (unpacking) return [...parts, 'unpacking'].join(', ');
  if (bytesPerSecond !== undefined && bytesPerSecond > 0) parts.push(`${renderSize(Math.round(bytesPerSecond))}/s`);
  else if (bytesPerSecond === 0) parts.push('stalled');
  if (leftSeconds !== undefined) parts.push(`~${renderLeft(leftSeconds)} left`);
  return parts.join(', ');
}
