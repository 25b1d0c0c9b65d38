// Owns how a transfer looks while it goes on: on a terminal a bar for each layer, drawn over and over; otherwise lines, few of them.
// All of it goes to standard error, since standard output carries the result alone.
import type { TransferLayer } from '../../cri-proto/images.ts';
import {
  addSample,
  computeTransfer,
  isDone,
  isFree,
  percentOf,
  renderBytes,
  renderLeft,
  renderTransfer,
  type Sample,
  type Transfer,
} from '../image/transfer.ts';
import { renderSize } from './table.ts';

const DIGEST_CHARS = 12;
const LONGEST_BAR = 40;
const SHORTEST_BAR = 10;
const DRAW_EVERY_MS = 100;
const LINE_EVERY_MS = 5_000;

const short = (digest: string) => digest.slice(digest.indexOf(':') + 1).slice(0, DIGEST_CHARS);
const WORDS: Readonly<Record<string, string>> = { cached: 'here already', present: 'there already', mounted: 'there already (mounted)' };
const word = ({ state }: TransferLayer) => WORDS[state] ?? state;
const MOVING = new Set(['downloading', 'uploading']);

export interface Screen {
  readonly columns: number;
  readonly rows: number;
}

function renderBar(share: number, width: number): string {
  const filled = Math.min(width, Math.floor(share * width));
  return `[${'='.repeat(filled)}${filled < width ? '>' : ''}${' '.repeat(Math.max(0, width - filled - 1))}]`;
}

export interface LayerRow {
  readonly layer: TransferLayer;
  readonly transfer: Transfer;
}

export function renderLayer({ layer, transfer }: LayerRow, { columns }: Screen): string {
  const name = short(layer.digest).padEnd(DIGEST_CHARS);
  if (!MOVING.has(layer.state) || layer.totalBytes === 0) {
    const size = layer.totalBytes === 0 ? '' : `  ${renderSize(layer.totalBytes)}`;
    return `${name}  ${word(layer)}${size}`.slice(0, columns);
  }
  const { bytesPerSecond, leftSeconds } = transfer;
  const numbers = [
    `${percentOf(transfer)}%`.padStart(4),
    renderBytes(transfer).padStart(13),
    (bytesPerSecond === undefined ? '' : `${renderSize(Math.round(bytesPerSecond))}/s`).padStart(9),
    (leftSeconds === undefined ? '' : `~${renderLeft(leftSeconds)}`).padStart(6),
  ].join(' ');
  const width = Math.min(LONGEST_BAR, columns - name.length - numbers.length - 6);
  const bar = width < SHORTEST_BAR ? '' : `${renderBar(transfer.doneBytes / Math.max(transfer.totalBytes, 1), width)} `;
  return `${name}  ${bar}${numbers}`.slice(0, columns - 1);
}

/** What is shown at one moment. More layers than there are rows: those under way first, the rest as a number. */
export function renderScreen(title: string, rows: readonly LayerRow[], total: Transfer, screen: Screen): readonly string[] {
  const room = Math.max(1, screen.rows - 4);
  const order = rows.length <= room ? rows : rows.toSorted((a, b) => rank(a.layer) - rank(b.layer));
  const shown = order.slice(0, rows.length <= room ? room : room - 1);
  const hidden = rows.length - shown.length;
  const last = rows.length === 0 ? 'resolving' : rows.every(({ layer }) => isDone(layer)) ? summary(rows) : renderTransfer(total);
  return [
    title.slice(0, screen.columns - 1),
    ...shown.map((row) => renderLayer(row, screen)),
    ...(hidden > 0 ? [`… ${hidden} more layers`] : []),
    last.slice(0, screen.columns - 1),
  ];
}

const rank = (layer: TransferLayer) => (isDone(layer) ? 2 : layer.state === 'waiting' ? 1 : 0);

function summary(rows: readonly LayerRow[]): string {
  const here = rows.filter(({ layer }) => isFree(layer)).length;
  const moved = rows.reduce((sum, { layer }) => sum + (isFree(layer) ? 0 : layer.totalBytes), 0);
  return `${rows.length} ${rows.length === 1 ? 'layer' : 'layers'}, ${here} there already, ${renderSize(moved)} transferred`;
}

export interface ProgressView {
  update(layers: readonly TransferLayer[]): void;
  /** Draws the last state; a failure leaves what is seen and lets the error follow below. */
  end(): void;
}

/** Where it is shown: a process' standard error, or a test's. */
export interface Output {
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
  write(text: string): unknown;
}

/** title: "pulling docker.io/library/nginx:latest" */
export function openProgress(title: string, output: Output, now: () => number = Date.now): ProgressView {
  return output.isTTY === true ? openBars(title, output, now) : openLines(title, output, now);
}

function createMeter(now: () => number) {
  const samples = new Map<string, readonly Sample[]>();
  const measure = (key: string, layers: readonly TransferLayer[]): Transfer => {
    const { doneBytes } = computeTransfer(layers, [], now());
    // Waiting is no transfer: the clock of a layer starts with its first byte.
    const started = layers.some(({ state }) => state !== 'waiting');
    const known = started ? addSample(samples.get(key) ?? [], { atMs: now(), bytes: doneBytes }) : [];
    samples.set(key, known);
    return computeTransfer(layers, known, now());
  };
  return {
    rows: (layers: readonly TransferLayer[]): readonly LayerRow[] =>
      layers.map((layer, index) => ({ layer, transfer: measure(`${index} ${layer.digest}`, [layer]) })),
    total: (layers: readonly TransferLayer[]): Transfer => measure('all', layers),
  };
}

function openBars(title: string, output: Output, now: () => number): ProgressView {
  const meter = createMeter(now);
  let layers: readonly TransferLayer[] = [];
  let height = 0;
  const draw = () => {
    const screen = { columns: output.columns ?? 80, rows: output.rows ?? 24 };
    const lines = renderScreen(title, meter.rows(layers), meter.total(layers), screen);
    // Up to where the last drawing began, then each line over the old one, and nothing of a longer old drawing below.
    const up = height === 0 ? '' : `\x1b[${height}A`;
    output.write(`${up}${lines.map((line) => `\r${line}\x1b[K\n`).join('')}\x1b[J`);
    height = lines.length;
  };
  draw();
  const timer = setInterval(draw, DRAW_EVERY_MS);
  timer.unref?.();
  return {
    update: (next) => {
      layers = next;
    },
    end: () => {
      clearInterval(timer);
      draw();
    },
  };
}

function openLines(title: string, output: Output, now: () => number): ProgressView {
  const meter = createMeter(now);
  const states = new Map<string, string>();
  let layers: readonly TransferLayer[] = [];
  let toldMs = now();
  output.write(`${title}\n`);
  return {
    update: (next) => {
      layers = next;
      for (const [index, layer] of layers.entries()) {
        const { digest, state, totalBytes } = layer;
        const key = `${index} ${digest}`;
        if (states.get(key) === state) continue;
        states.set(key, state);
        if (state !== 'waiting') output.write(`${short(digest)}: ${word(layer)}${totalBytes === 0 ? '' : ` ${renderSize(totalBytes)}`}\n`);
      }
      const total = meter.total(layers);
      if (now() - toldMs < LINE_EVERY_MS) return;
      toldMs = now();
      output.write(`${renderTransfer(total)}\n`);
    },
    end: () => {
      if (layers.length > 0 && layers.every(isDone)) output.write(`${summary(meter.rows(layers))}\n`);
    },
  };
}
