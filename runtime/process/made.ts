// Owns the process of a container whose init another program makes (an external OCI runtime, criu): a shim of ours runs that program and
// becomes the parent of what it leaves.
import fs from 'node:fs';
import { createPipe } from '../linux/pipe2.ts';
import { type FD, RECORD } from '../program/records.ts';
import type { EventRecord } from './events.ts';
import { decodeWaitStatus } from './exit-file.ts';
import { ProgramError } from './program-error.ts';
import { type ContainerProcess, type ShimOptions, type ShimStart, startShim } from './shim.ts';

export interface MadeOptions extends ShimOptions {
  readonly pausePid: number;
  /** Where the program writes the pid of init. */
  readonly pidFile: string;
  /** Why the program made no container. */
  readonly readError: () => string;
}

export interface MadeStart extends Pick<ShimStart, 'program' | 'keepsStdin' | 'place'> {
  /** The descriptor that the pid of init comes by. */
  readonly pipe: keyof typeof FD;
}

/** Resolves when the init is there and the shim's. Throws with nothing of ours left behind. */
export async function startMade({ program, keepsStdin, place, pipe }: MadeStart, options: MadeOptions): Promise<ContainerProcess> {
  const ends = createPipe();
  const failed = new AbortController();
  const onRecord = (record: EventRecord) => {
    if (record.type === RECORD.created) tellInitPid(record, ends.write, options, failed);
  };
  const placeAll: ShimStart['place'] = (descriptors) => {
    descriptors.place(descriptors.own(ends.read), pipe);
    place(descriptors);
  };
  try {
    return await startShim({ program, keepsStdin, place: placeAll, onRecord, failed: failed.signal }, options);
  } finally {
    fs.closeSync(ends.write);
  }
}

/** Eight bytes to the shim; or the end of the start. */
function tellInitPid({ bytes }: EventRecord, pipe: number, { pidFile, readError }: MadeOptions, failed: AbortController): void {
  const { code, signal } = decodeWaitStatus(bytes.readUInt32LE(8));
  try {
    if (code !== 0 || signal !== 0) throw new Error(readError());
    const pid = Number(fs.readFileSync(pidFile, 'utf8'));
    if (!Number.isInteger(pid) || pid <= 0) throw new Error(`no pid is in ${pidFile}`);
    const message = Buffer.alloc(8);
    message.writeBigUInt64LE(BigInt(pid));
    fs.writeSync(pipe, message);
  } catch (error) {
    failed.abort(new ProgramError((error as Error).message, 'EIO', 128));
  }
}
