// Owns the error of a process that could not be started: which step was refused, and how a shell would number it.
import type { Program } from '../program/builder.ts';
import { describeFailure } from '../program/explain.ts';

export class ProgramError extends Error {
  /** errno name. */
  readonly code: string;
  /** 126 not executable, 127 not found, 128 for everything before the user's program. */
  readonly exitCode: number;

  constructor(message: string, code: string, exitCode: number) {
    super(message);
    this.name = 'ProgramError';
    this.code = code;
    this.exitCode = exitCode;
  }
}

/** From a failure record. records.ts */
export function decodeFailure(program: Program, record: Buffer): ProgramError {
  const { sentence, code, exitCode } = describeFailure(program, record.readUInt32LE(8), record.readInt32LE(12));
  return new ProgramError(sentence, code, exitCode);
}

/** From a warning record: a step that was refused while the program went on. */
export function decodeWarning(program: Program, record: Buffer): string {
  const { sentence } = describeFailure(program, Number(record.readBigUInt64LE(8)), -Number(record.readBigInt64LE(16)));
  return sentence;
}
