// Owns the process of a container that an external OCI runtime makes: a shim of ours runs the runtime and becomes the parent of its init.
import fs from 'node:fs';
import { createPipe } from '../linux/pipe2.ts';
import { type OciCreateSpec, planOciProgram } from '../program/oci-program.ts';
import { RECORD } from '../program/records.ts';
import { type ContainerProcess, copyInit, ExitWatch, type StartContainerOptions } from './container.ts';
import { Descriptors } from './descriptors.ts';
import type { EventRecord } from './events.ts';
import { createExitFile, decodeWaitStatus } from './exit-file.ts';
import { hostLimits } from './host-limits.ts';
import { processTitle } from './ours.ts';
import { ProgramError } from './program-error.ts';
import { startProgram } from './start.ts';
import { placeStdio } from './stdio.ts';

export interface CreateOciOptions extends Omit<StartContainerOptions, 'pausePid' | 'targetPid'> {
  /** Where the runtime writes the pid of init. */
  readonly pidFile: string;
  /** Why the runtime could not create the container. */
  readonly readError: () => string;
}

/** Resolves when the runtime has created the container: its init waits to be told to start. Throws with nothing of ours left behind. */
export async function createOciContainer(
  spec: Omit<OciCreateSpec, 'recordId' | 'ignoredSignals'>,
  options: CreateOciOptions,
): Promise<ContainerProcess> {
  const { events, recordId, exitFile } = options;
  const program = planOciProgram({ ...spec, recordId, ignoredSignals: hostLimits().ignoredSignals });
  const descriptors = new Descriptors();
  const watch = new ExitWatch(events, recordId, exitFile);
  const pipe = createPipe();
  const failed = new AbortController();
  try {
    descriptors.place(events.fd, 'events');
    descriptors.place(descriptors.own(pipe.read), 'join');
    placeStdio(descriptors, options.stdioDir, spec.keepsStdin);
    descriptors.place(descriptors.own(createExitFile(exitFile)), 'exitFile');
    const { shimCgroup, timeoutMs, signal } = options;
    const { launched, value, warnings } = await startProgram({
      program,
      argv: processTitle('shim', options.name),
      descriptors,
      recordId,
      reportFd: events.fd,
      listen: (listener) => watch.listen(listener),
      until: RECORD.started,
      onRecord: (record) => {
        if (record.type === RECORD.created) tellInitPid(record, pipe.write, options, failed);
      },
      signal: signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal]),
      ...(shimCgroup === undefined ? {} : { cgroup: descriptors.open(shimCgroup, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY) }),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
    const initPidfd = copyInit(launched.pidfd, value);
    return watch.follow({ initPid: value, initPidfd, shimPid: launched.pid, shimPidfd: launched.pidfd, warnings });
  } catch (error) {
    fs.rmSync(exitFile, { force: true });
    throw error;
  } finally {
    descriptors.close();
    fs.closeSync(pipe.write);
  }
}

/** Eight bytes to the shim; or the end of the start. */
function tellInitPid({ bytes }: EventRecord, pipe: number, { pidFile, readError }: CreateOciOptions, failed: AbortController): void {
  const { code, signal } = decodeWaitStatus(bytes.readUInt32LE(8));
  try {
    if (code !== 0 || signal !== 0) throw new Error(readError());
    const pid = Number(fs.readFileSync(pidFile, 'utf8'));
    if (!Number.isInteger(pid) || pid <= 0) throw new Error(`the runtime wrote no pid to ${pidFile}`);
    const message = Buffer.alloc(8);
    message.writeBigUInt64LE(BigInt(pid));
    fs.writeSync(pipe, message);
  } catch (error) {
    failed.abort(new ProgramError((error as Error).message, 'EIO', 128));
  }
}
