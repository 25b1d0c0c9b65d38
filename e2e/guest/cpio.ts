// Writes the archive format of an initramfs: cpio "newc" (Documentation/driver-api/early-userspace/buffer-format.rst).

export interface CpioFile {
  readonly name: string;
  /** File type and permissions, as in stat(2). */
  readonly mode: number;
  readonly content: Buffer;
}

/** An uncompressed archive; a directory must come before what is in it. */
export function encodeCpio(files: readonly CpioFile[]): Buffer {
  const entries = [...files, { name: 'TRAILER!!!', mode: 0, content: Buffer.alloc(0) }];
  return Buffer.concat(entries.flatMap(encodeEntry));
}

function encodeEntry({ name, mode, content }: CpioFile, index: number): Buffer[] {
  const hex = (value: number) => value.toString(16).padStart(8, '0');
  // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
  const fields = [index + 1, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, Buffer.byteLength(name) + 1, 0];
  const header = Buffer.from(`070701${fields.map(hex).join('')}${name}\0`);
  return [pad(header), pad(content)];
}

function pad(bytes: Buffer): Buffer {
  const rest = bytes.length % 4;
  return rest === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(4 - rest)]);
}
