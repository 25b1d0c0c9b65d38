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

const TCGETS = 0x5401;
const TCSETSW = 0x5403;
const TERMIOS_BYTES = 36;

// asm-generic/termbits.h: what cfmakeraw(3) switches off and on.
const [I_OFF, O_OFF, C_OFF, C_ON, L_OFF] = [0o2753, 0o1, 0o460, 0o60, 0o100113];
const CC = 17;
const [VTIME, VMIN] = [5, 6];

/**
 * Passes every byte on unchanged, both ways. (Node's own raw mode goes on turning "\n" into "\r\n", which breaks programs that draw.)
 * Gives the way back. struct termios { u32 iflag, oflag, cflag, lflag; u8 line; u8 cc[19] }
 */
export function makeRaw(fd: number): () => void {
  const saved = Buffer.alloc(TERMIOS_BYTES);
  syscall('ioctl', fd, TCGETS, scratch.address);
  scratch.buffer.copy(saved, 0, 0, TERMIOS_BYTES);
  const change = (at: number, off: number, on: number) =>
    scratch.buffer.writeUInt32LE(((scratch.buffer.readUInt32LE(at) & ~off) | on) >>> 0, at);
  change(0, I_OFF, 0);
  change(4, O_OFF, 0);
  change(8, C_OFF, C_ON);
  change(12, L_OFF, 0);
  scratch.buffer[CC + VTIME] = 0;
  scratch.buffer[CC + VMIN] = 1;
  syscall('ioctl', fd, TCSETSW, scratch.address);
  return () => {
    saved.copy(scratch.buffer);
    syscall('ioctl', fd, TCSETSW, scratch.address);
  };
}
