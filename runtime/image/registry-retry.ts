// Owns how long to wait before a registry is asked again: longer each time, and at least as long as it asks for (Retry-After).
import { setTimeout as delay } from 'node:timers/promises';
import type { RegistryError } from './registry-error.ts';

/** A registry that wants to be left alone longer than this is told to the caller, who has a back-off of its own. */
const RETRY_AFTER_LIMIT_MS = 60_000;

/** Undefined: longer than anyone waits. */
export function retryDelayMs({ retryAfterMs = 0 }: RegistryError, attempts: number, firstMs: number): number | undefined {
  if (retryAfterMs > RETRY_AFTER_LIMIT_MS) return undefined;
  // Spread, so that many that were refused together do not come again together.
  return Math.max(firstMs * 2 ** (attempts - 1) * (0.75 + Math.random() / 2), retryAfterMs);
}

/** Rejects with the signal's reason. */
export async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await delay(ms, undefined, signal === undefined ? {} : { signal });
  } catch (error) {
    throw signal?.reason ?? error;
  }
}
