// Runs a command in another kernel, as an ordinary process: User-Mode Linux on the host's files, or Debian's cloud kernel in an
// emulating qemu. For what the host's kernel cannot show, cgroup2 with all controllers first of all.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { kernelCommand, type Run, type RunResult } from './kernel.ts';
import { prepareTcg, tcgProblem } from './tcg.ts';
import { prepareUml, umlProblem } from './uml.ts';

export type GuestKind = 'uml' | 'tcg';

/** Features that tests may ask for: cgroup2 controllers, and the names below. */
export type Feature = 'cpu' | 'io' | 'memory' | 'pids' | 'cpuset' | 'hugetlb' | 'psi' | 'nft' | 'timens' | 'apparmor' | 'io.weight';

const UML_LACKS: readonly Feature[] = ['cpuset', 'hugetlb', 'psi', 'nft', 'timens', 'apparmor', 'io.weight'];

export interface GuestRun {
  readonly kind: GuestKind;
  /** Lines of a POSIX shell, run in the root of the source tree with our Node first on the PATH. TSK_GUEST names the kind. */
  readonly command: string;
  readonly timeoutMs: number;
  readonly memoryMebibytes?: number;
  /** tcg only: programs of the host that the command needs, by absolute path; their libraries come along. uml sees all of them. */
  readonly programs?: readonly string[];
}

/** Why a kind of guest cannot run here: the reason of a skipped test. */
export function guestProblem(kind: GuestKind): string | undefined {
  if (process.arch !== 'x64') return `guests need x86_64, this is ${process.arch}`;
  return kind === 'uml' ? umlProblem() : tcgProblem();
}

export type Kernel = { readonly kind: 'host' | GuestKind } | { readonly kind: 'none'; readonly reason: string };

/** The lightest kernel that has cgroup2 with these features: this host's, UML, or qemu. Tests print which one it is. */
export function lightestKernel(features: readonly Feature[]): Kernel {
  const host = readControllers();
  if (process.getuid?.() === 0 && host.length > 0 && features.every((feature) => host.includes(feature))) return { kind: 'host' };
  const lacking = features.find((feature) => UML_LACKS.includes(feature));
  const uml = lacking === undefined ? guestProblem('uml') : `UML has no ${lacking}`;
  if (uml === undefined) return { kind: 'uml' };
  const tcg = guestProblem('tcg');
  return tcg === undefined ? { kind: 'tcg' } : { kind: 'none', reason: `${uml}; ${tcg}` };
}

// Only a purely unified host mounts cgroup2 here.
function readControllers(): string[] {
  try {
    return fs.readFileSync('/sys/fs/cgroup/cgroup.controllers', 'utf8').trim().split(' ');
  } catch {
    return [];
  }
}

/** Runs the command and gives its exit code and output; throws, with the console, when the guest ends without one. */
export async function runInGuest(run: GuestRun): Promise<RunResult> {
  const problem = guestProblem(run.kind);
  if (problem !== undefined) throw new Error(problem);
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'tsk-guest-'));
  try {
    fs.writeFileSync(path.join(directory, 'job.sh'), run.command);
    const prepare = run.kind === 'uml' ? prepareUml : prepareTcg;
    const kernel: Run = await prepare({ ...run, memoryMebibytes: run.memoryMebibytes ?? 1024, directory });
    return await kernelCommand(kernel, run.timeoutMs);
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}
