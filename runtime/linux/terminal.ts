// Owns what a terminal's master is asked for. ioctl_tty(2)
import { mapAnonymous } from './memory.ts';
import { syscall } from './syscall.ts';

const TIOCSWINSZ = 0x5414;

const scratch = mapAnonymous(4096);

/** In characters; the foreground processes get SIGWINCH. struct winsize { u16 rows, columns, x pixels, y pixels } */
export function setWindowSize(master: number, { width, height }: { readonly width: number; readonly height: number }): void {
  scratch.buffer.writeUInt16LE(height, 0);
  scratch.buffer.writeUInt16LE(width, 2);
  scratch.buffer.writeUInt32LE(0, 4);
  syscall('ioctl', master, TIOCSWINSZ, scratch.address);
}
