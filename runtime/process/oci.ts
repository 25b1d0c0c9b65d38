// Owns the process of a container that an external OCI runtime makes: a shim of ours runs the runtime and becomes the parent of its init.
import fs from 'node:fs';
import { createPipe } from '../linux/pipe2.ts';
import { type OciCreateSpec, planOciProgram } from '../program/oci-program.ts';
import { RECORD } from '../program/records.ts';
import type { Descriptors } from './descriptors.ts';
import type { EventRecord } from './events.ts';
import { decodeWaitStatus } from './exit-file.ts';
import { hostLimits } from './host-limits.ts';
import { ProgramError } from './program-error.ts';
import { type ContainerProcess, placeUserNamespace, type ShimOptions, startShim } from './shim.ts';

export interface CreateOciOptions extends ShimOptions {
  /** Its user namespace maps the owners of the layers, when the root has an owner of its own. */
  readonly pausePid: number;
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
  const { ignoredSignals } = hostLimits();
  const program = planOciProgram({ ...spec, recordId: options.recordId, ignoredSignals });
  const pipe = createPipe();
  const failed = new AbortController();
  const place = (descriptors: Descriptors) => {
    descriptors.place(descriptors.own(pipe.read), 'join');
    if (spec.rootOwner !== undefined) placeUserNamespace(descriptors, options.pausePid);
  };
  const onRecord = (record: EventRecord) => {
    if (record.type === RECORD.created) tellInitPid(record, pipe.write, options, failed);
  };
  try {
    return await startShim({ program, keepsStdin: spec.keepsStdin, place, onRecord, failed: failed.signal }, options);
  } finally {
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
