// Owns hearing of changes in the runtime: its event stream where it serves one, a relist every second where it does not.
import type { CriClient } from '../../cri-proto/client.ts';
import type { Logger } from '../../runtime/logger.ts';
import { describeError } from '../error.ts';
import { POD_UID } from './labels.ts';
import type { Pods } from './pods.ts';

/** Without events; and with them, for what a stream may have missed. */
const RELIST_MS = 1_000;
const RELIST_WITH_EVENTS_MS = 30_000;
const RECONNECT_MS = 1_000;

export interface RuntimeEventsOptions {
  readonly cri: CriClient;
  readonly pods: Pods;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/** Resolves after `signal` aborts. */
export async function followRuntime(options: RuntimeEventsOptions): Promise<void> {
  const state = { streaming: false };
  await Promise.all([followEvents(options, state), relist(options, state)]);
}

async function followEvents({ cri, pods, logger, signal }: RuntimeEventsOptions, state: { streaming: boolean }): Promise<void> {
  while (!signal.aborted) {
    let heard = false;
    const connectedMs = Date.now();
    // A runtime that ends the stream at once has no events (CRI-O without enable_pod_events); one that says nothing yet has.
    const settled = setTimeout(() => {
      state.streaming = true;
      pods.wakeAll();
    }, RECONNECT_MS);
    try {
      for await (const event of cri.runtime.getContainerEvents({}, { signal })) {
        heard = true;
        const uid = event.podSandboxStatus?.metadata?.uid ?? event.containersStatuses[0]?.labels[POD_UID];
        if (uid === undefined) await pods.relist();
        else pods.wake(uid);
      }
    } catch (error) {
      if (!signal.aborted) logger.debug({}, `the runtime's events ended: ${describeError(error)}`);
    }
    clearTimeout(settled);
    state.streaming = false;
    if (!signal.aborted) await pause(heard || Date.now() - connectedMs > RECONNECT_MS ? RECONNECT_MS : RELIST_WITH_EVENTS_MS, signal);
  }
}

async function relist({ pods, logger, signal }: RuntimeEventsOptions, state: { streaming: boolean }): Promise<void> {
  let lastMs = Date.now();
  let silent = false;
  while (!signal.aborted) {
    await pause(RELIST_MS, signal);
    if (signal.aborted || (state.streaming && Date.now() - lastMs < RELIST_WITH_EVENTS_MS)) continue;
    try {
      await pods.relist();
      lastMs = Date.now();
      if (silent) logger.info({}, 'the CRI runtime answers again');
      silent = false;
    } catch (error) {
      if (!silent && !signal.aborted) logger.error({}, `the CRI runtime does not answer: ${describeError(error)}`);
      silent = true;
    }
  }
}

function pause(durationMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const timer = setTimeout(end, durationMs);
    function end() {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    }
    signal.addEventListener('abort', end);
  });
}
