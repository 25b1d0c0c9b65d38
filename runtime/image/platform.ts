// Owns platforms (OCI image-spec, "platform"): what this machine is, and which of those that an index offers runs on it.
import fs from 'node:fs';
import os from 'node:os';

export interface Platform {
  readonly os: string;
  /** Go's name: "amd64". */
  readonly architecture: string;
  /** "v8"; "" where the architecture has one only. */
  readonly variant: string;
}

export function renderPlatform({ os: system, architecture, variant }: Platform): string {
  return `${system}/${architecture}${variant === '' ? '' : `/${variant}`}`;
}

/** The OCI name of this machine's architecture. */
export function hostArchitecture(arch: string = process.arch): string {
  if (arch === 'x64') return 'amd64';
  if (arch === 'ia32') return '386';
  return arch === 'ppc64' && os.endianness() === 'LE' ? 'ppc64le' : arch;
}

// x86-64 psABI, "micro-architecture levels", by the names of /proc/cpuinfo.
const LEVELS = [
  ['v2', 'cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3'],
  ['v3', 'avx avx2 bmi1 bmi2 f16c fma abm movbe xsave'],
  ['v4', 'avx512f avx512bw avx512cd avx512dq avx512vl'],
] as const;

/** The highest level that these flags of a processor reach. */
export function computeLevel(flags: string): string {
  const has = new Set(flags.split(/\s+/));
  let level = 'v1';
  for (const [name, needed] of LEVELS) {
    if (!needed.split(' ').every((flag) => has.has(flag))) break;
    level = name;
  }
  return level;
}

let known: Platform | undefined;

export function hostPlatform(): Platform {
  known ??= { os: 'linux', architecture: hostArchitecture(), variant: hostVariant() };
  return known;
}

function hostVariant(): string {
  if (process.arch === 'arm64') return 'v8';
  if (process.arch === 'arm')
    return `v${(process.config.variables as unknown as Readonly<Record<string, string | undefined>>).arm_version ?? '7'}`;
  if (process.arch !== 'x64') return '';
  // The first processor says it all, and is on the first page.
  const page = Buffer.alloc(4096);
  const fd = fs.openSync('/proc/cpuinfo', 'r');
  try {
    const text = page.toString('latin1', 0, fs.readSync(fd, page, 0, page.length, 0));
    return computeLevel(/^flags\s*:(.*)$/m.exec(text)?.[1] ?? '');
  } finally {
    fs.closeSync(fd);
  }
}

/** What an architecture means when it names no variant. */
const DEFAULT_VARIANT: Readonly<Record<string, string>> = { amd64: 'v1', arm64: 'v8', arm: 'v7' };
/** What else a processor runs, after everything of its own architecture. */
const ALSO_RUNS: Readonly<Record<string, string>> = { amd64: '386', arm64: 'arm' };

const numberOf = ({ architecture, variant }: Platform): number =>
  Number(/^v?(\d+)/.exec(variant || (DEFAULT_VARIANT[architecture] ?? ''))?.[1] ?? 0);

/** How well `offered` runs on `host`, 0 best; undefined when not at all. The variant nearest below the host's own wins. */
export function rankPlatform(offered: Platform, host: Platform): number | undefined {
  if (offered.os !== host.os) return undefined;
  if (offered.architecture === host.architecture) {
    const distance = numberOf(host) - numberOf(offered);
    return distance < 0 ? undefined : distance;
  }
  if (ALSO_RUNS[host.architecture] !== offered.architecture) return undefined;
  const newest = host.architecture === 'arm64' ? 8 : 0;
  return 100 + newest - Math.min(newest, numberOf(offered));
}
