// Owns the walk from a program to a running process: image, launch, the first records, and the undo when one of them is a failure.
import fs from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { SIGCONT, SIGKILL, SIGSTOP } from '../linux/constants.ts';
import { hasCode } from '../linux/errno.ts';
import { type Launched, launch } from '../linux/launcher.ts';
import { createImage } from '../linux/memfd.ts';
import { findEnded, openPidfd, sendSignal, waitEnded } from '../linux/pidfd.ts';
import type { Program } from '../program/builder.ts';
import { encodeElf } from '../program/elf.ts';
import { RECORD } from '../program/records.ts';
import type { Descriptors } from './descriptors.ts';
import type { EventListener, EventRecord } from './events.ts';
import { decodeFailure, decodeWarning, ProgramError } from './program-error.ts';

const END_MS = 5000;
/** A shim has nothing else to do than to reap its child. */
const REAP_MS = 1000;
/** How often a start looks whether its process ended without a word. */
const SILENT_END_MS = 500;
/** Mounting an overlay may wait for a disk; nothing else in a start takes long. */
export const START_TIMEOUT_MS = 60_000;

export interface StartProgram {
  readonly program: Program;
  readonly argv: readonly string[];
  /** FD.events must be placed already. */
  readonly descriptors: Descriptors;
  readonly recordId: number;
  /** Our descriptor behind the child's FD.events. */
  readonly reportFd: number;
  /** Passes records to the listener; returns the end of it. */
  readonly listen: (listener: EventListener) => () => void;
  /** The record that says that all went well. */
  readonly until: number;
  readonly flags?: number;
  readonly cgroup?: number;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Records of other types, until `until` comes. */
  readonly onRecord?: (record: EventRecord, launched: Launched) => void;
}

export interface StartedProgram {
  readonly launched: Launched;
  /** The value of the record that ended the start. */
  readonly value: number;
  readonly warnings: readonly string[];
}

/** Resolves with the record `until`. On failure nothing of the process is left. The descriptors are closed in any case. */
export async function startProgram(start: StartProgram): Promise<StartedProgram> {
  const { program, descriptors } = start;
  const warnings: string[] = [];
  const early: EventRecord[] = [];
  let receive: EventListener = (record) => early.push(record);
  const stop = start.listen((record) => receive(record));
  let launched: Launched;
  try {
    launched = launchImage(start);
  } catch (error) {
    stop();
    throw error;
  } finally {
    descriptors.close();
  }
  try {
    const value = await new Promise<number>((resolve, reject) => {
      const settle =
        <T>(how: (result: T) => void) =>
        (result: T) => {
          watch.close();
          how(result);
        };
      const succeed = settle(resolve);
      const fail = settle(reject);
      const watch = watchStart(start, launched, fail);
      receive = (record) => {
        launched.done();
        if (record.type === RECORD.warning) warnings.push(decodeWarning(program, record.bytes));
        else if (record.type === RECORD.failed) fail(decodeFailure(program, record.bytes));
        else if (record.type === RECORD.launchFailed) fail(launchError(launched));
        else if (record.type === start.until) succeed(Number(record.bytes.readBigUInt64LE(8)));
        else start.onRecord?.(record, launched);
      };
      for (const record of early) receive(record);
    });
    return { launched, value, warnings };
  } catch (error) {
    await endStart(launched);
    // Its last records may still be in the FIFO: they are nobody's.
    receive = () => {};
    setTimeout(stop, END_MS).unref();
    throw error;
  }
}

function launchImage(start: StartProgram): Launched {
  const image = start.descriptors.own(createImage(start.argv[0] ?? 'tskubelet', encodeElf(start.program)));
  return launch({
    image,
    argv: start.argv,
    descriptors: start.descriptors.placed,
    report: { fd: start.reportFd, recordId: start.recordId, type: RECORD.launchFailed },
    ...(start.flags === undefined ? {} : { flags: start.flags }),
    ...(start.cgroup === undefined ? {} : { cgroup: start.cgroup }),
  });
}

function launchError(launched: Launched): ProgramError {
  const failure = launched.failure();
  return new ProgramError(`launch: ${failure?.message ?? 'the process ended without a word'}`, failure?.code ?? 'EIO', 128);
}

/** What may end a start besides its records: time, the caller, a process that is killed. */
function watchStart({ timeoutMs = START_TIMEOUT_MS, signal }: StartProgram, launched: Launched, reject: (error: Error) => void) {
  const timeout = setTimeout(() => reject(new ProgramError(`not started within ${timeoutMs / 1000} s`, 'ETIMEDOUT', 128)), timeoutMs);
  // Its records are read first: a failure that it told is better than its silence.
  let seenEnded = false;
  const silent = setInterval(() => {
    if (seenEnded) reject(launchError(launched));
    seenEnded = findEnded([launched.pidfd]).length > 0;
  }, SILENT_END_MS);
  const aborted = () => reject(signal?.reason instanceof Error ? signal.reason : new ProgramError('aborted', 'ECANCELED', 128));
  // Not at once: the caller has nothing to close yet.
  if (signal?.aborted) queueMicrotask(aborted);
  signal?.addEventListener('abort', aborted);
  return {
    close: () => {
      clearTimeout(timeout);
      clearInterval(silent);
      signal?.removeEventListener('abort', aborted);
    },
  };
}

/**
 * Kills what a failed start left: the shim's child too, when it is still setting up. The shim takes its child's end first: an orphan is
 * the host's init to reap, and where that one does not (a container's PID 1 that is no init), its zombie keeps the PID namespace it was in.
 */
async function endStart(launched: Launched): Promise<void> {
  const deadline = Date.now() + REAP_MS;
  try {
    // Once it has stopped, no child comes that is not seen here.
    sendSignal(launched.pidfd, SIGSTOP);
    while (!hasStopped(launched.pid) && Date.now() < deadline) await delay(1);
    const children = childrenOf(launched.pid);
    for (const child of children) {
      const pidfd = openPidfd(child);
      sendSignal(pidfd, SIGKILL);
      fs.closeSync(pidfd);
    }
    if (children.length > 0) sendSignal(launched.pidfd, SIGCONT);
    while (childrenOf(launched.pid).length > 0 && Date.now() < deadline) await delay(1);
  } catch (error) {
    if (!hasCode(error, 'ENOENT', 'ESRCH', 'EINVAL')) throw error;
  }
  sendSignal(launched.pidfd, SIGKILL);
  await waitEnded(launched.pidfd, END_MS);
  fs.closeSync(launched.pidfd);
  launched.done();
}

/** proc_pid_stat(5): stopped, or ended. */
function hasStopped(pid: number): boolean {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
  return 'TZX'.includes(stat.charAt(stat.lastIndexOf(')') + 2));
}

/** proc_pid_children(5) */
export function childrenOf(pid: number): readonly number[] {
  return fs
    .readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1')
    .split(' ')
    .filter((text) => text !== '')
    .map(Number);
}
