// Owns the stop signal of a container: which one it is, and when its init can take it.
import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Signal as CriSignal, Signal } from '../../cri-proto/gen/api.ts';
import { signalNumber } from '../linux/signals.ts';

const FIRST_LOOK_MS = 2;
const LAST_LOOK_MS = 250;
const SIGTERM = 15;

/** CRI's names are the kernel's behind SIGNAL_. */
const NUMBERS = new Map(Object.entries(Signal).map(([name, value]) => [value, signalNumber(name.replace('SIGNAL_', ''))]));

/** RUNTIME_DEFAULT leaves it to the image. One that nobody knows must not make its containers unstoppable. */
export function planStopSignal(requested: CriSignal, imageSignal: string): number {
  return NUMBERS.get(requested) ?? signalNumber(imageSignal) ?? SIGTERM;
}

/** What a status shows: the signal that a stop sends. */
export function effectiveStopSignal(requested: CriSignal, imageSignal: string): CriSignal {
  const number = planStopSignal(requested, imageSignal);
  return [...NUMBERS].find(([, its]) => its === number)?.[0] ?? requested;
}

/**
 * False when the kernel would drop the signal: process 1 of a PID namespace gets only what it has a handler for, or holds back
 * (pid_namespaces(7)). `status` is the process' /proc/PID/status.
 */
export function takesSignal(status: string, signal: number): boolean {
  const field = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1]?.trim() ?? '';
  if (field('NSpid').split(/\s+/).at(-1) !== '1') return true;
  const bit = 1n << BigInt(signal - 1);
  return ['SigCgt', 'SigBlk'].some((name) => (BigInt(`0x${field(name) || '0'}`) & bit) !== 0n);
}

/**
 * Resolves to true when the signal can be sent. A container that is stopped right after its start has not set up its handlers yet, and
 * the only signal that it gets would be lost.
 */
export async function untilTakesSignal(pid: number, signal: number, waits: { timeoutMs: number; abort: AbortSignal }): Promise<boolean> {
  const deadline = Date.now() + waits.timeoutMs;
  for (let lookMs = FIRST_LOOK_MS; !waits.abort.aborted; lookMs = Math.min(lookMs * 2, LAST_LOOK_MS)) {
    const status = await fs.promises.readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
    if (takesSignal(status, signal)) return true;
    if (Date.now() + lookMs > deadline) return false;
    await sleep(lookMs, undefined, { signal: waits.abort }).catch(() => undefined);
  }
  return false;
}
