// Owns reading /etc/ld.so.cache (glibc, sysdeps/generic/dl-cache.h), the new format, alone or behind the old one:
//
//   struct cache_file_new { char magic[17]; char version[3]; uint32_t nlibs, len_strings; uint8_t flags, pad[3];
//                           uint32_t extension_offset, unused[3]; struct file_entry_new libs[nlibs]; }
//   struct file_entry_new { int32_t flags; uint32_t key, value, osversion; uint64_t hwcap; }

const MAGIC = 'glibc-ld.so.cache1.1';
const HEADER_BYTES = 48;
const ENTRY_BYTES = 24;
// FLAG_ELF_LIBC6 with the architecture's bits.
const hostFlags = process.arch === 'arm64' ? 0x0a03 : 0x0303;

/** Library name to path, for the running architecture; the builds for special processors (hwcap) are left out. */
export function parseLdCache(bytes: Buffer): ReadonlyMap<string, string> {
  const libraries = new Map<string, string>();
  const start = bytes.indexOf(MAGIC, 0, 'latin1');
  if (start < 0 || start + HEADER_BYTES > bytes.length) return libraries;
  const cache = bytes.subarray(start);
  const count = Math.min(cache.readUInt32LE(20), Math.floor((cache.length - HEADER_BYTES) / ENTRY_BYTES));
  const text = (at: number) => cache.toString('utf8', at, Math.max(at, cache.indexOf(0, at)));
  for (let i = 0; i < count; i++) {
    const at = HEADER_BYTES + i * ENTRY_BYTES;
    if (cache.readInt32LE(at) !== hostFlags || cache.readBigUInt64LE(at + 16) !== 0n) continue;
    const name = text(cache.readUInt32LE(at + 4));
    if (!libraries.has(name)) libraries.set(name, text(cache.readUInt32LE(at + 8)));
  }
  return libraries;
}
