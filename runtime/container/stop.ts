// Owns StopContainer: the stop signal once, the grace period, then SIGKILL for everything in the container.
import { openCgroup } from '../cgroup/apply.ts';
import { killCgroup } from '../cgroup/processes.ts';
import type { RuntimeContext } from '../context.ts';
import { deadlineExceeded } from '../errors.ts';
import { signalNumber } from '../linux/signals.ts';
import type { Container } from './container.ts';
import { planStopSignal, untilTakesSignal } from './stop-signal.ts';

/** How long the kernel may take to end a killed process before the call gives up (a process in disk wait takes its time). */
const KILL_TIMEOUT_MS = 10_000;

/** Returns when the exit is written down. Not running is success. A second call with a shorter timeout overtakes the first. */
export async function stopContainer(context: RuntimeContext, container: Container, timeoutS: bigint, signal: AbortSignal): Promise<void> {
  await startSettled(container);
  const { process, record } = container;
  if (record.state !== 'running' || process === undefined) return;
  if (timeoutS > 0n) {
    const deadline = Date.now() + Number(timeoutS) * 1000;
    if (!record.stopSignalSent) await sendStopSignal(container, deadline, signal);
    context.faultPoint('container signalled');
    if (await endedWithin(container, deadline - Date.now(), signal)) return;
    // The client gave up waiting: its kubelet asks again, with what is left of the grace period.
    if (signal.aborted) throw signal.reason;
  }
  await killContainerNow(context, container);
}

/** A start under way, whose client may have given up on it, comes to its end before a stop looks at what is there. */
export async function startSettled(container: Container): Promise<void> {
  if (container.record.state === 'starting') await container.serial.run(async () => undefined);
}

async function sendStopSignal(container: Container, deadline: number, abort: AbortSignal): Promise<void> {
  const { config, imageConfig, initPid } = container.record;
  const number = planStopSignal(config.stopSignal, imageConfig.stopSignal);
  if (initPid !== undefined) {
    const takes = untilTakesSignal(initPid, number, { timeoutMs: deadline - Date.now(), abort });
    if (!(await Promise.race([takes, container.ended.then(() => false)]))) return;
  }
  // Another call may have been faster.
  if (container.record.stopSignalSent || container.record.state !== 'running') return;
  container.change({ stopSignalSent: true });
  container.process?.kill(number);
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

/** A time that has passed already is a short one. */
async function endedWithin(container: Container, timeoutMs: number, signal?: AbortSignal): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  let aborted: (() => void) | undefined;
  const timeout = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), Math.min(Math.max(timeoutMs, 1), 2 ** 31 - 1));
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
