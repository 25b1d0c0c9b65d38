// Owns memory with a stable address that the kernel may read and write: anonymous and shared file mappings seen as Buffers.
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');
const mmap = libc.func('void *mmap(void *addr, size_t length, int prot, int flags, int fd, long offset)');

export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const PROT_EXEC = 4;
const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_ANONYMOUS = 0x20;

/** A mapping that is never moved: `address` may be handed to the kernel, `buffer` shows the same bytes. */
export interface Memory {
  readonly address: number;
  readonly buffer: Buffer;
}

function view(length: number, prot: number, flags: number, fd: number): Memory {
  const pointer = mmap(null, length, prot, flags, fd, 0);
  const address = Number(koffi.address(pointer));
  if (address <= 0 || address >= 2 ** 48) throw new Error(`mmap of ${length} bytes: errno ${koffi.errno()}`);
  return { address, buffer: Buffer.from(koffi.view(pointer, length) as ArrayBuffer) };
}

/** Maps zeroed private memory. Mappings live as long as the process: callers keep and reuse them. */
export function mapAnonymous(length: number): Memory {
  return view(length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

/** Maps `length` bytes of a file so that stores survive this process (mmap(2), MAP_SHARED). */
export function mapShared(fd: number, length: number): Memory {
  return view(length, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
}
