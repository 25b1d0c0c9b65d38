// Owns a container's process: started, watched until its end, signalled, released; adopted again after a restart of the daemon.
import fs from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { hasCode } from '../linux/errno.ts';
import { copyDescriptor, exitStatusOf, openPidfd, pidOf, sendSignal, waitEnded } from '../linux/pidfd.ts';
import { planContainerProgram } from '../program/container-program.ts';
import { FD, RECORD } from '../program/records.ts';
import type { ContainerSpec } from '../program/spec.ts';
import { isAlive, type ProcessIdentity } from '../state/process-identity.ts';
import { Descriptors } from './descriptors.ts';
import type { Events } from './events.ts';
import { createExitFile, decodeExitRecord, decodeWaitStatus, type ExitStatus, readExitFile } from './exit-file.ts';
import { hostLimits } from './host-limits.ts';
import { processTitle } from './ours.ts';
import { startProgram } from './start.ts';
import { placeStdio } from './stdio.ts';
import { watchPidfd } from './watch.ts';

export { createStdio, endStdin, openStdin, type StdioOptions } from './stdio.ts';

const SIGKILL = 9;
const END_MS = 10_000;
/** How long an adopted shim may still be about to clone its init. */
const CLONE_MS = 5000;

export interface StartContainerOptions {
  readonly events: Events;
  readonly recordId: number;
  /** The container's id. */
  readonly name: string;
  readonly pausePid: number;
  /** Has the FIFOs of createStdio. */
  readonly stdioDir: string;
  readonly exitFile: string;
  /** Whose PID namespace is joined instead of the sandbox's. */
  readonly targetPid?: number;
  readonly shimCgroup?: string;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface ContainerProcess {
  /** 0 when an adopted container had ended already. */
  readonly initPid: number;
  readonly initPidfd: number;
  readonly shimPid: number;
  readonly shimPidfd: number;
  /** Steps that were refused and done without. */
  readonly warnings: readonly string[];
  /** Resolves when init has ended; undefined when nobody knows how (its shim was killed). */
  readonly exited: Promise<ExitStatus | undefined>;
  /** Sends a signal to init; false when it has ended. */
  kill(signal: number): boolean;
  /** Ends the shim: what is left in the FIFOs is lost then, unless someone else holds them. Repeatable. */
  release(): Promise<void>;
}

/** Resolves when init has executed its program. Throws ProgramError naming the refused step, with nothing left behind. */
export async function startContainer(spec: ContainerSpec, options: StartContainerOptions): Promise<ContainerProcess> {
  const { events, recordId, name, exitFile } = options;
  const inUserns = spec.namespaces.user !== 'host';
  const host = hostLimits();
  // Root of a user namespace has all capabilities there, whatever the daemon lacks.
  const program = planContainerProgram(spec, { recordId, ...host, ...(inUserns ? { availableCapabilities: -1n } : {}) });
  const descriptors = new Descriptors();
  const watch = new ExitWatch(events, recordId, exitFile);
  try {
    descriptors.place(events.fd, 'events');
    placeNamespaces(descriptors, spec, options);
    placeStdio(descriptors, options.stdioDir, spec.keepsStdin);
    if (spec.cgroup.unified !== undefined) descriptors.place(openDirectory(descriptors, spec.cgroup.unified), 'cgroup');
    descriptors.place(descriptors.own(createExitFile(exitFile)), 'exitFile');
    const { launched, value, warnings } = await startProgram({
      program,
      argv: processTitle('shim', name),
      descriptors,
      recordId,
      reportFd: events.fd,
      listen: (listener) => watch.listen(listener),
      until: RECORD.started,
      ...(options.shimCgroup === undefined ? {} : { cgroup: openDirectory(descriptors, options.shimCgroup) }),
      ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    const initPidfd = copyInit(launched.pidfd, value);
    return watch.follow({ initPid: value, initPidfd, shimPid: launched.pid, shimPidfd: launched.pidfd, warnings });
  } catch (error) {
    fs.rmSync(exitFile, { force: true });
    throw error;
  } finally {
    descriptors.close();
  }
}

function openDirectory(descriptors: Descriptors, directory: string): number {
  return descriptors.open(directory, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
}

function placeNamespaces(descriptors: Descriptors, { namespaces }: ContainerSpec, { pausePid, targetPid }: StartContainerOptions): void {
  const pause = descriptors.own(openPidfd(pausePid));
  descriptors.place(pause, 'join');
  if (namespaces.pid === 'join') descriptors.place(targetPid === undefined ? pause : descriptors.own(openPidfd(targetPid)), 'pidTarget');
  if (namespaces.user !== 'host') descriptors.place(descriptors.open(`/proc/${pausePid}/ns/user`, fs.constants.O_RDONLY), 'userns');
}

/** The shim's own pidfd of init. Where its descriptors may not be copied (kernel.yama.ptrace_scope = 3) a new one by pid. */
export function copyInit(shimPidfd: number, initPid: number): number {
  try {
    return copyDescriptor(shimPidfd, FD.init);
  } catch (error) {
    if (hasCode(error, 'EPERM')) return openPidfd(initPid);
    throw error;
  }
}

/** Follows one container's records: to its start first, then to its end, by the quick way (event) and the sure ways (exit file, pidfd). */
export class ExitWatch {
  readonly #events: Events;
  readonly #recordId: number;
  readonly #exitFile: string;
  #exit: ExitStatus | undefined;
  #settle: ((status: ExitStatus | undefined) => void) | undefined;

  constructor(events: Events, recordId: number, exitFile: string) {
    this.#events = events;
    this.#recordId = recordId;
    this.#exitFile = exitFile;
  }

  /** The exit may come in the same read as the start: it is noted here whoever listens. */
  listen(listener: Parameters<Events['listen']>[1]): () => void {
    return this.#events.listen(this.#recordId, (record) => {
      if (record.type !== RECORD.exited) {
        listener(record);
        return;
      }
      this.#exit = decodeExitRecord(record.bytes);
      this.#settle?.(this.#exit);
    });
  }

  follow(running: Omit<ContainerProcess, 'exited' | 'kill' | 'release'>): ContainerProcess {
    const { initPidfd, shimPidfd } = running;
    const stopListening = this.listen(() => {});
    let stopWatching = () => {};
    const exited = new Promise<ExitStatus | undefined>((resolve) => {
      this.#settle = (status) => {
        stopWatching();
        resolve(status);
      };
      stopWatching = this.#watchShim(initPidfd, shimPidfd);
      const known = this.#exit ?? readExitFile(this.#exitFile);
      if (known !== undefined) this.#settle(known);
    });
    let released: Promise<void> | undefined;
    return {
      ...running,
      exited,
      kill: (signal) => released === undefined && sendSignal(initPidfd, signal),
      release: () => {
        released ??= (async () => {
          stopListening();
          stopWatching();
          sendSignal(shimPidfd, SIGKILL);
          const ended = await waitEnded(shimPidfd, END_MS);
          fs.closeSync(initPidfd);
          fs.closeSync(shimPidfd);
          if (!ended) throw new Error(`shim ${running.shimPid} still runs ${END_MS / 1000} s after SIGKILL`);
        })();
        return released;
      },
    };
  }

  /** A shim that is killed sends nothing: then init itself is watched, and its status asked of the kernel where it keeps it. */
  #watchShim(initPidfd: number, shimPidfd: number): () => void {
    let stop = watchPidfd(shimPidfd, () => {
      const written = readExitFile(this.#exitFile);
      if (written !== undefined) {
        this.#settle?.(written);
        return;
      }
      stop = watchPidfd(initPidfd, () => {
        const raw = exitStatusOf(initPidfd);
        this.#settle?.(raw === undefined ? undefined : { ...decodeWaitStatus(raw), finishedAt: BigInt(Date.now()) * 1_000_000n });
      });
    });
    return () => stop();
  }
}

export interface AdoptOptions {
  readonly events: Events;
  readonly recordId: number;
  readonly shim: ProcessIdentity;
  readonly exitFile: string;
}

/** The container of a shim that an earlier daemon started; undefined when the shim is gone, or never got as far as its init. */
export async function adoptContainer({ events, recordId, shim, exitFile }: AdoptOptions): Promise<ContainerProcess | undefined> {
  let shimPidfd: number;
  try {
    shimPidfd = openPidfd(shim.pid);
  } catch (error) {
    if (hasCode(error, 'ESRCH')) return undefined;
    throw error;
  }
  // Compared after the pidfd is open: from here on it is this process or none.
  const initPidfd = isAlive(shim) ? await findInit(shimPidfd, shim) : undefined;
  if (initPidfd === undefined) {
    fs.closeSync(shimPidfd);
    return undefined;
  }
  const running = { initPid: pidOf(initPidfd) ?? 0, initPidfd, shimPid: shim.pid, shimPidfd, warnings: [] };
  return new ExitWatch(events, recordId, exitFile).follow(running);
}

async function findInit(shimPidfd: number, shim: ProcessIdentity): Promise<number | undefined> {
  const deadline = performance.now() + CLONE_MS;
  for (;;) {
    try {
      return copyDescriptor(shimPidfd, FD.init);
    } catch (error) {
      if (hasCode(error, 'ESRCH')) return undefined;
      if (!hasCode(error, 'EBADF')) throw error;
    }
    if (performance.now() > deadline || !isAlive(shim)) return undefined;
    await delay(20);
  }
}
