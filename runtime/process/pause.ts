// Owns a sandbox's pause process: started when its namespaces are ready, ended by SIGKILL.
import fs from 'node:fs';
import { CLONE_NEWPID } from '../linux/constants.ts';
import { hasCode } from '../linux/errno.ts';
import { openPidfd, sendSignal, waitEnded } from '../linux/pidfd.ts';
import { createPipe } from '../linux/pipe2.ts';
import { planPauseProgram } from '../program/pause-program.ts';
import { RECORD } from '../program/records.ts';
import type { IdMapping, PauseSpec } from '../program/spec.ts';
import { isAlive, type ProcessIdentity } from '../state/process-identity.ts';
import { Descriptors } from './descriptors.ts';
import type { Events } from './events.ts';
import { hostLimits } from './host-limits.ts';
import { processTitle } from './ours.ts';
import { startProgram } from './start.ts';
import { watchPidfd } from './watch.ts';

const SIGKILL = 9;
const END_MS = 10_000;

export interface PauseOptions {
  readonly events: Events;
  readonly recordId: number;
  /** The sandbox' id. */
  readonly name: string;
  /** Directory in the cgroup2 hierarchy for shims; the spec's own placement goes before it. */
  readonly shimCgroup?: string;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface PauseProcess {
  readonly pid: number;
  /** Steps that were refused and done without. */
  readonly warnings: readonly string[];
  /** Resolves when the process has ended, whoever ended it. */
  readonly ended: Promise<void>;
}

export async function startPause(spec: PauseSpec, options: PauseOptions): Promise<PauseProcess> {
  const { events, recordId, name } = options;
  const program = planPauseProgram(spec, { recordId, ...hostLimits() });
  const inUserns = spec.namespaces.user === 'new';
  const descriptors = new Descriptors();
  const go = inUserns ? createPipe() : undefined;
  let successor: number | undefined;
  try {
    descriptors.place(events.fd, 'events');
    if (go !== undefined) descriptors.place(go.read, 'stdin');
    const cgroup = spec.cgroup.unified ?? options.shimCgroup;
    const { launched, warnings } = await startProgram({
      program,
      argv: processTitle('pause', name),
      descriptors,
      recordId,
      reportFd: events.fd,
      listen: (listener) => events.listen(recordId, listener),
      until: RECORD.ready,
      ...(spec.namespaces.pid === 'new' && !inUserns ? { flags: CLONE_NEWPID } : {}),
      ...(cgroup === undefined ? {} : { cgroup: descriptors.open(cgroup, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY) }),
      ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      onRecord: ({ type, bytes }, { pid }) => {
        if (type === RECORD.started) successor = Number(bytes.readBigUInt64LE(8));
        if (type === RECORD.wantsIdMaps) writeIdMaps(pid, spec);
        if (go !== undefined) fs.writeSync(go.write, 'x');
      },
    });
    const { pid, pidfd } = successor === undefined ? launched : await follow(launched.pidfd, successor);
    return { pid, warnings, ended: untilEnded(pidfd) };
  } finally {
    descriptors.close();
    if (go !== undefined) for (const fd of [go.read, go.write]) fs.closeSync(fd);
  }
}

/** Resolves, perhaps a second late, when a pause process of an earlier daemon has ended. */
export function watchPauseProcess(identity: ProcessIdentity): Promise<void> {
  let pidfd: number;
  try {
    pidfd = openPidfd(identity.pid);
  } catch (error) {
    if (hasCode(error, 'ESRCH')) return Promise.resolve();
    throw error;
  }
  // Compared after the pidfd is open: from here on it is this process or none.
  if (isAlive(identity)) return untilEnded(pidfd);
  fs.closeSync(pidfd);
  return Promise.resolve();
}

function untilEnded(pidfd: number): Promise<void> {
  return new Promise((resolve) => {
    watchPidfd(pidfd, () => {
      fs.closeSync(pidfd);
      resolve();
    });
  });
}

/** A pause process in a user namespace and a PID namespace is the child of the one that was launched; both are ours to reap. */
async function follow(launched: number, pid: number): Promise<{ pid: number; pidfd: number }> {
  const pidfd = openPidfd(pid);
  await waitEnded(launched, END_MS);
  fs.closeSync(launched);
  return { pid, pidfd };
}

/** "<container id> <host id> <size>" per line. user_namespaces(7) */
function renderIdMap(mappings: readonly IdMapping[]): string {
  return mappings.map(({ containerId, hostId, size }) => `${containerId} ${hostId} ${size}\n`).join('');
}

function writeIdMaps(pid: number, { uidMappings = [], gidMappings = [] }: PauseSpec): void {
  fs.writeFileSync(`/proc/${pid}/uid_map`, renderIdMap(uidMappings));
  fs.writeFileSync(`/proc/${pid}/gid_map`, renderIdMap(gidMappings));
}

/** The namespaces go with it, unless a container still is in them. Gone is success. */
export async function killPauseProcess(pid: number, options: { readonly timeoutMs?: number } = {}): Promise<void> {
  let pidfd: number;
  try {
    pidfd = openPidfd(pid);
  } catch (error) {
    if (hasCode(error, 'ESRCH')) return;
    throw error;
  }
  try {
    sendSignal(pidfd, SIGKILL);
    const timeoutMs = options.timeoutMs ?? END_MS;
    if (!(await waitEnded(pidfd, timeoutMs))) throw new Error(`pause process ${pid} still runs ${timeoutMs / 1000} s after SIGKILL`);
  } finally {
    fs.closeSync(pidfd);
  }
}
