// Owns extended attributes (xattr(7)), which node:fs does not have. Paths are bytes: file names need not be UTF-8. Links are not followed.
import { SyscallError } from './errno.ts';
import { type Memory, mapAnonymous } from './memory.ts';
import { trySyscall } from './syscall.ts';

// XATTR_SIZE_MAX of linux/limits.h, a path and a name.
const VALUE_LIMIT_BYTES = 64 * 1024;
const PATH_LIMIT_BYTES = 4096;
const NAME_LIMIT_BYTES = 256;
const NAME_AT = PATH_LIMIT_BYTES;
const VALUE_AT = NAME_AT + NAME_LIMIT_BYTES;

let memory: Memory | undefined;

function place(path: string | Buffer, name: string): Memory {
  memory ??= mapAnonymous(VALUE_AT + VALUE_LIMIT_BYTES);
  put(memory, 0, typeof path === 'string' ? Buffer.from(path) : path, PATH_LIMIT_BYTES);
  put(memory, NAME_AT, Buffer.from(name), NAME_LIMIT_BYTES);
  return memory;
}

function put({ buffer }: Memory, at: number, bytes: Buffer, limit: number): void {
  if (bytes.length >= limit) throw new Error(`${JSON.stringify(bytes.toString().slice(0, 64))}… is longer than ${limit - 1} bytes`);
  if (bytes.includes(0)) throw new Error(`a NUL byte in ${JSON.stringify(bytes.toString())}`);
  bytes.copy(buffer, at);
  buffer[at + bytes.length] = 0;
}

/** lsetxattr(2) */
export function setXattr(path: string | Buffer, name: string, value: Buffer): void {
  if (value.length > VALUE_LIMIT_BYTES) throw new Error(`the extended attribute ${name} is larger than ${VALUE_LIMIT_BYTES} bytes`);
  const { address, buffer } = place(path, name);
  value.copy(buffer, VALUE_AT);
  const result = trySyscall('lsetxattr', address, address + NAME_AT, address + VALUE_AT, value.length, 0);
  if (result < 0) throw new SyscallError('lsetxattr', [path.toString(), name, `${value.length} bytes`], -result);
}

/** lgetxattr(2); undefined where the file has no such attribute or its filesystem has none at all. */
export function getXattr(path: string | Buffer, name: string): Buffer | undefined {
  const ENODATA = -61;
  const EOPNOTSUPP = -95;
  const { address, buffer } = place(path, name);
  const length = trySyscall('lgetxattr', address, address + NAME_AT, address + VALUE_AT, VALUE_LIMIT_BYTES);
  if (length === ENODATA || length === EOPNOTSUPP) return undefined;
  if (length < 0) throw new SyscallError('lgetxattr', [path.toString(), name], -length);
  return Buffer.from(buffer.subarray(VALUE_AT, VALUE_AT + length));
}

/** llistxattr(2); none where the filesystem has none at all. */
export function listXattrs(path: string | Buffer): string[] {
  const EOPNOTSUPP = -95;
  const { address, buffer } = place(path, '');
  const length = trySyscall('llistxattr', address, address + VALUE_AT, VALUE_LIMIT_BYTES);
  if (length === EOPNOTSUPP) return [];
  if (length < 0) throw new SyscallError('llistxattr', [path.toString()], -length);
  const names = buffer.toString('utf8', VALUE_AT, VALUE_AT + length);
  return names.split('\0').filter((name) => name !== '');
}
