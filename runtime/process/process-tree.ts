// Owns ending a process with everything that it started: by its cgroup where it has one of its own, else by walking /proc, which misses
// those that have left both their parent and its session.
import fs from 'node:fs';
import { killDirectory } from '../cgroup/processes.ts';
import { SIGKILL, SIGSTOP } from '../linux/constants.ts';
import { hasCode } from '../linux/errno.ts';
import { openPidfd, sendSignal } from '../linux/pidfd.ts';

/** A fork bomb may outrun the walk; it is then left to the cgroup's pids limit and the container's end. */
const MAX_ROUNDS = 10;

export interface Tree {
  /** It was made a session leader at its start. */
  readonly pid: number;
  /** Signals it; false, and nothing else is hit, when it has ended. */
  readonly kill: (signal: number) => boolean;
  /** A directory of either cgroup version that nothing else is in. */
  readonly cgroup?: string;
}

interface Relative {
  readonly pid: number;
  readonly parent: number;
  readonly session: number;
}

/** SIGKILL to the process, its descendants, and what is left of its session; gone is success. */
export async function killTree({ pid, kill, cgroup }: Tree): Promise<void> {
  if (cgroup !== undefined) return killDirectory(cgroup);
  // Stopped first, so that nothing is forked while the tree is read: a killed parent's children are found no more.
  const found = new Map<number, number>();
  try {
    kill(SIGSTOP);
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const fresh = descendantsOf(pid, await readProcesses()).filter((descendant) => !found.has(descendant));
      if (fresh.length === 0) break;
      for (const descendant of fresh) stop(descendant, found);
    }
    kill(SIGKILL);
    for (const descendant of found.values()) sendSignal(descendant, SIGKILL);
  } finally {
    for (const descendant of found.values()) fs.closeSync(descendant);
  }
}

function stop(pid: number, found: Map<number, number>): void {
  try {
    const pidfd = openPidfd(pid);
    found.set(pid, pidfd);
    sendSignal(pidfd, SIGSTOP);
  } catch (error) {
    if (!hasCode(error, 'ESRCH')) throw error;
  }
}

/** Children of children, and members of the session that lost their parent. */
function descendantsOf(root: number, processes: readonly Relative[]): readonly number[] {
  const tree = new Set<number>([root]);
  for (let before = 0; before < tree.size; ) {
    before = tree.size;
    for (const { pid, parent, session } of processes) if (tree.has(parent) || session === root) tree.add(pid);
  }
  tree.delete(root);
  return [...tree];
}

async function readProcesses(): Promise<readonly Relative[]> {
  const entries = (await fs.promises.readdir('/proc')).filter((entry) => /^\d+$/.test(entry));
  const found = await Promise.all(entries.map(readRelative));
  return found.filter((relative) => relative !== undefined);
}

/** proc_pid_stat(5): the fields after the command's name, which may hold anything. */
async function readRelative(entry: string): Promise<Relative | undefined> {
  try {
    const stat = await fs.promises.readFile(`/proc/${entry}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { pid: Number(entry), parent: Number(fields[1]), session: Number(fields[3]) };
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ESRCH')) return undefined;
    throw error;
  }
}
