// Owns the shim of a container: started with a program, watched until its child has ended, released. What the program does before its child
// runs is the caller's.
import fs from 'node:fs';
import { hasCode } from '../linux/errno.ts';
import { copyDescriptor, exitStatusOf, openPidfd, sendSignal, waitEnded } from '../linux/pidfd.ts';
import type { Program } from '../program/builder.ts';
import { FD, RECORD } from '../program/records.ts';
import { Descriptors } from './descriptors.ts';
import type { EventRecord, Events } from './events.ts';
import { createExitFile, decodeExitRecord, decodeWaitStatus, type ExitStatus, readExitFile } from './exit-file.ts';
import { processTitle } from './ours.ts';
import { startProgram } from './start.ts';
import { placeStdio } from './stdio.ts';
import { watchPidfd } from './watch.ts';

const SIGKILL = 9;
const END_MS = 10_000;

export interface ShimOptions {
  readonly events: Events;
  readonly recordId: number;
  /** The container's id. */
  readonly name: string;
  /** Has the FIFOs of createStdio. */
  readonly stdioDir: string;
  readonly exitFile: string;
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

export interface ShimStart {
  readonly program: Program;
  readonly keepsStdin: boolean;
  /** Descriptors that the program wants beside events, stdio and the exit file. */
  readonly place: (descriptors: Descriptors) => void;
  /** Records that come before the child runs. */
  readonly onRecord?: (record: EventRecord) => void;
  /** Ends the start with its reason, beside the caller's own signal. */
  readonly failed?: AbortSignal;
}

/** Resolves when the child runs. Throws ProgramError naming the refused step, with nothing of ours left behind. */
export async function startShim(
  { program, keepsStdin, place, onRecord, failed }: ShimStart,
  options: ShimOptions,
): Promise<ContainerProcess> {
  const { events, recordId, exitFile, shimCgroup, timeoutMs } = options;
  const descriptors = new Descriptors();
  const watch = new ExitWatch(events, recordId, exitFile);
  const signals = [options.signal, failed].filter((signal) => signal !== undefined);
  try {
    descriptors.place(events.fd, 'events');
    place(descriptors);
    placeStdio(descriptors, options.stdioDir, keepsStdin);
    descriptors.place(descriptors.own(createExitFile(exitFile)), 'exitFile');
    const { launched, value, warnings } = await startProgram({
      program,
      argv: processTitle('shim', options.name),
      descriptors,
      recordId,
      reportFd: events.fd,
      listen: (listener) => watch.listen(listener),
      until: RECORD.started,
      ...(onRecord === undefined ? {} : { onRecord }),
      ...(signals.length === 0 ? {} : { signal: AbortSignal.any(signals) }),
      ...(shimCgroup === undefined ? {} : { cgroup: openDirectory(descriptors, shimCgroup) }),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
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

export function openDirectory(descriptors: Descriptors, directory: string): number {
  return descriptors.open(directory, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
}

/** The user namespace of a sandbox, by which mounts are mapped. */
export function placeUserNamespace(descriptors: Descriptors, pausePid: number): void {
  descriptors.place(descriptors.open(`/proc/${pausePid}/ns/user`, fs.constants.O_RDONLY), 'userns');
}

/** The shim's own pidfd of init. Where its descriptors may not be copied (kernel.yama.ptrace_scope = 3) a new one by pid. */
function copyInit(shimPidfd: number, initPid: number): number {
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
