// Owns copies of a terminal's master. The shim keeps the one that counts: closing a copy hangs up on nobody.
import fs from 'node:fs';
import tty from 'node:tty';
import { copyDescriptor } from '../linux/pidfd.ts';
import { setWindowSize } from '../linux/terminal.ts';
import { FD } from '../program/records.ts';

export { setWindowSize };

/** The caller's to close. */
export function copyTerminal(shimPidfd: number): number {
  return copyDescriptor(shimPidfd, FD.terminal);
}

/**
 * A master as a stream; destroying it closes the descriptor. When nobody has the terminal open any more its reading side ends, as a pipe's
 * would: read(2) says EIO.
 */
export function openTerminalStream(master: number): tty.ReadStream {
  const stream = new tty.ReadStream(master);
  stream.on('error', () => stream.destroy());
  return stream;
}

export function closeTerminal(master: number): void {
  fs.closeSync(master);
}
