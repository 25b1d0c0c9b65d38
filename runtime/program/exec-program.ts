// Owns the program of an exec session: one more process in a running container.
import * as k from '../linux/constants.ts';
import { type Program, ProgramBuilder, ref, shown } from './builder.ts';
import type { ProgramTarget } from './container-program.ts';
import { namespaceFlags } from './namespaces.ts';
import { addLabels, addOomScore, addProcess, addRlimits } from './process-steps.ts';
import { FD, FD_END } from './records.ts';
import { addClone, addPrologue, addShim } from './shim-steps.ts';
import type { ExecSpec } from './spec.ts';
import { addTerminal, keepTerminal } from './terminal-steps.ts';

/** Descriptor 8 is the pidfd of the container's init. */
export function planExecProgram(spec: ExecSpec, target: ProgramTarget): Program {
  const p = new ProgramBuilder({ recordId: target.recordId, ...(target.arch === undefined ? {} : { arch: target.arch }) });
  const { process, cgroup, namespaces } = spec;
  const inUserns = namespaces.includes('user');
  addPrologue(p, 'tskubelet-exec');
  p.phase('namespaces');
  if (inUserns) addRlimits(p, target.recordId, process);
  if (inUserns) addLabels(p, process);
  // Opened where the host's files are still visible; the child writes.
  const files = cgroup.v1Procs.map((procs) => {
    const opened = p.slot('cgroup.procs as opened');
    const file = p.slot('cgroup.procs');
    p.op('openat', [k.AT_FDCWD, procs, k.O_WRONLY | k.O_CLOEXEC, 0], { dst: opened });
    // A dozen of them would take the numbers that init's pidfd and the terminal are to have.
    p.op('fcntl', [ref(opened), shown(k.F_DUPFD_CLOEXEC, 'F_DUPFD_CLOEXEC'), FD_END], { dst: file });
    p.op('close', [ref(opened)]);
    return file;
  });
  const { value, shows } = namespaceFlags(namespaces);
  p.op('setns', [FD.join, shown(value, shows)], { note: 'everything of the container at once' });
  const child = p.label();
  const { pid, pidfd } = addClone(p, {
    flags: process.terminal ? k.CLONE_FILES : 0,
    shows: process.terminal ? 'CLONE_FILES' : '',
    intoCgroup: cgroup.unified !== undefined,
    child,
    note: 'the first process that is inside the PID namespace',
  });
  addShim(p, { recordId: target.recordId, pid, pidfd, of: 'exec' });
  p.place(child);
  p.phase('process');
  for (const file of files) p.op('write', [ref(file), '0', 1], { note: 'joins this hierarchy' });
  p.op('setsid');
  if (inUserns) {
    p.op('setresgid', [0, 0, 0], { note: 'root of the user namespace' });
    p.op('setresuid', [0, 0, 0]);
  }
  addOomScore(p, target.recordId, process.oomScoreAdj);
  const terminal = process.terminal ? addTerminal(p, { console: false }) : undefined;
  if (!inUserns) addRlimits(p, target.recordId, process);
  if (!inUserns) addLabels(p, process);
  if (terminal !== undefined) keepTerminal(p, terminal, process.user.uid);
  addProcess(p, process, { host: target, terminal: terminal?.slave });
  return p.finish();
}
