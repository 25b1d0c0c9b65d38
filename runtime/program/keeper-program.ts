// Owns the program of the staging pipe's keeper: it has one descriptor and does nothing, for as long as it is let live.
import * as k from '../linux/constants.ts';
import { type Program, ProgramBuilder, type ProgramOptions, ref } from './builder.ts';
import { FD } from './records.ts';
import { addEndlessWait, addPrologue, placeRecord, sendRecord } from './shim-steps.ts';

/** The descriptor that it is given to hold. */
export const KEPT_FD = FD.stdin;

export function planKeeperProgram(v1Procs: readonly string[], options: ProgramOptions): Program {
  const p = new ProgramBuilder(options);
  addPrologue(p, 'tskubelet-keep');
  for (const procs of v1Procs) {
    const file = p.slot('cgroup.procs');
    p.op('openat', [k.AT_FDCWD, procs, k.O_WRONLY | k.O_CLOEXEC, 0], { dst: file });
    p.op('write', [ref(file), '0', 1], { note: 'joins this hierarchy' });
    p.op('close', [ref(file)]);
  }
  p.phase('wait');
  p.op('chdir', ['/'], { note: 'keep no directory busy' });
  sendRecord(p, placeRecord(p, options.recordId ?? 0, 'ready'), 'ready');
  p.op('close_range', [0, KEPT_FD - 1, 0]);
  p.op('close_range', [KEPT_FD + 1, 0xffffffff, 0]);
  addEndlessWait(p, 'holds the pipe, so that what is in it outlives the daemon');
  return p.finish();
}
