// Owns StopContainer: the stop signal once, the grace period, then SIGKILL for everything in the container.
import { type Signal as CriSignal, Signal } from '../../cri-proto/gen/api.ts';
import { openCgroup } from '../cgroup/apply.ts';
import { killCgroup } from '../cgroup/processes.ts';
import type { RuntimeContext } from '../context.ts';
import { deadlineExceeded, invalidArgument } from '../errors.ts';
import { signalNumber } from '../linux/signals.ts';
import type { Container } from './container.ts';

/** How long the kernel may take to end a killed process before the call gives up (a process in disk wait takes its time). */
const KILL_TIMEOUT_MS = 10_000;

/** CRI's Signal names are the kernel's behind SIGNAL_; RUNTIME_DEFAULT leaves it to the image. */
export function planStopSignal(requested: CriSignal, imageSignal: string): number {
  const name = Object.entries(Signal).find(([, value]) => value === requested)?.[0];
  const asked = requested === Signal.SIGNAL_RUNTIME_DEFAULT ? undefined : name?.replace('SIGNAL_', '');
  const wanted = asked ?? (imageSignal || 'SIGTERM');
  const number = signalNumber(wanted);
  if (number === undefined) throw invalidArgument(`unknown stop signal "${wanted}"`);
  return number;
}

/** Returns when the exit is written down. Not running is success. A second call with a shorter timeout overtakes the first. */
export async function stopContainer(context: RuntimeContext, container: Container, timeoutS: bigint, signal: AbortSignal): Promise<void> {
  const { process, record } = container;
  if (record.state !== 'running' || process === undefined) return;
  if (timeoutS > 0n) {
    if (!record.stopSignalSent) {
      const image = await context.images.status(record.imageId);
      container.change({ stopSignalSent: true });
      process.kill(planStopSignal(record.config.stopSignal, image?.config.stopSignal ?? ''));
    }
    context.faultPoint('container signalled');
    if (await endedWithin(container, Number(timeoutS) * 1000, signal)) return;
    // The client gave up waiting: its kubelet asks again, with what is left of the grace period.
    if (signal.aborted) throw signal.reason;
  }
  await killContainerNow(context, container);
}

/** SIGKILL to everything in the container, and its exit on record when this returns. */
export async function killContainerNow(context: RuntimeContext, container: Container): Promise<void> {
  const { process, record } = container;
  if (record.state !== 'running' || process === undefined) return;
  process.kill(signalNumber('SIGKILL') ?? 9);
  if (record.cgroupPath !== '') await killCgroup(openCgroup(context.cgroups.host, record.cgroupPath));
  context.faultPoint('container killed');
  if (!(await endedWithin(container, KILL_TIMEOUT_MS)))
    throw deadlineExceeded(
      `container ${record.id} still runs ${KILL_TIMEOUT_MS / 1000} s after SIGKILL: see /proc/${record.initPid}/stack for where it waits`,
    );
}

async function endedWithin(container: Container, timeoutMs: number, signal?: AbortSignal): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  let aborted: (() => void) | undefined;
  const timeout = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), Math.min(timeoutMs, 2 ** 31 - 1));
    aborted = () => resolve(false);
    signal?.addEventListener('abort', aborted);
    if (signal?.aborted) resolve(false);
  });
  try {
    return await Promise.race([container.ended.then(() => true), timeout]);
  } finally {
    clearTimeout(timer);
    if (aborted !== undefined) signal?.removeEventListener('abort', aborted);
  }
}
