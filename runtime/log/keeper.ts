// Owns how the staging pipe's keeper begins: a syscall program of its own, in a session and a cgroup that are not the daemon's.
import fs from 'node:fs';
import { promisify } from 'node:util';
import { type Launched, launch } from '../linux/launcher.ts';
import { createImage } from '../linux/memfd.ts';
import { waitEnded } from '../linux/pidfd.ts';
import { createPipe } from '../linux/pipe2.ts';
import type { Program } from '../program/builder.ts';
import { encodeElf } from '../program/elf.ts';
import { describeFailure } from '../program/explain.ts';
import { KEPT_FD, planKeeperProgram } from '../program/keeper-program.ts';
import { FD, RECORD, RECORD_BYTES } from '../program/records.ts';
import type { CgroupPlacement } from '../program/spec.ts';
import type { StartKeeper } from './staging.ts';

const RECORD_ID = 1;
const END_MS = 1000;
const read = promisify(fs.read);

/** Starts keepers in a cgroup: that of the shims, so that what ends the daemon's cgroup spares it. */
export function keeperStarter(cgroup: CgroupPlacement): StartKeeper {
  return async (stagingFd) => {
    const program = planKeeperProgram(cgroup.v1Procs, { recordId: RECORD_ID });
    const report = createPipe();
    try {
      const keeper = launchKeeper(program, cgroup, stagingFd, report.write);
      try {
        await readReady(report.read, program);
      } catch (error) {
        await waitEnded(keeper.pidfd, END_MS);
        throw keeper.failure() ?? error;
      } finally {
        keeper.done();
        fs.closeSync(keeper.pidfd);
      }
      return keeper.pid;
    } finally {
      fs.closeSync(report.read);
    }
  };
}

/** Closes `reportFd`: the keeper then has the only copy, and its death is the end of the pipe. */
function launchKeeper(program: Program, cgroup: CgroupPlacement, stagingFd: number, reportFd: number): Launched {
  const opened: number[] = [reportFd];
  try {
    const image = createImage('tskubelet-keeper', encodeElf(program));
    opened.push(image);
    const directory = cgroup.unified === undefined ? undefined : fs.openSync(cgroup.unified, fs.constants.O_DIRECTORY);
    if (directory !== undefined) opened.push(directory);
    return launch({
      image,
      argv: ['tskubelet-keeper'],
      descriptors: [
        [reportFd, FD.events],
        [stagingFd, KEPT_FD],
      ],
      report: { fd: reportFd, recordId: RECORD_ID, type: RECORD.launchFailed },
      ...(directory === undefined ? {} : { cgroup: directory }),
    });
  } finally {
    for (const fd of opened) fs.closeSync(fd);
  }
}

async function readReady(fd: number, program: Program): Promise<void> {
  const { bytesRead, buffer } = await read(fd, Buffer.alloc(RECORD_BYTES), 0, RECORD_BYTES, null);
  if (bytesRead === 0) throw new Error('the keeper ended before it was ready');
  const type = buffer.readUInt32LE(4);
  if (type === RECORD.failed) throw new Error(describeFailure(program, buffer.readUInt32LE(8), buffer.readInt32LE(12)).sentence);
  if (type !== RECORD.ready) throw new Error(`the keeper sent a record of type ${type}`);
}
