// Reads what a cgroup moved to and from block devices, by device: io.stat of cgroup2, the blkio controller of v1.
import type { Cgroup } from './cgroup.ts';
import { readFile } from './read-file.ts';

export interface DeviceIo {
  readonly major: number;
  readonly minor: number;
  readonly readBytes: bigint;
  readonly writeBytes: bigint;
  readonly reads: bigint;
  readonly writes: bigint;
}

const NONE = { readBytes: 0n, writeBytes: 0n, reads: 0n, writes: 0n };
type Counts = { -readonly [Key in keyof typeof NONE]: bigint };

function toDevices(counts: ReadonlyMap<string, Counts>): DeviceIo[] {
  return [...counts].map(([device, its]) => {
    const [major = 0, minor = 0] = device.split(':').map(Number);
    return { major, minor, ...its };
  });
}

/** "8:0 rbytes=90112 wbytes=299008 rios=22 wios=73 dbytes=0 dios=0". A device of which nothing was asked has no counts. */
export function parseIoStat(text: string): DeviceIo[] {
  const counts = new Map<string, Counts>();
  for (const line of text.split('\n')) {
    const [device, ...pairs] = line.split(' ');
    if (device === undefined || !/^\d+:\d+$/.test(device)) continue;
    const values = new Map(pairs.map((pair) => pair.split('=') as [string, string]));
    const value = (key: string) => BigInt(/^\d+$/.exec(values.get(key) ?? '')?.[0] ?? 0);
    if (values.has('rbytes'))
      counts.set(device, { readBytes: value('rbytes'), writeBytes: value('wbytes'), reads: value('rios'), writes: value('wios') });
  }
  return toDevices(counts);
}

/** "8:0 Read 90112" lines of blkio.throttle.io_service_bytes_recursive and …io_serviced_recursive. */
export function parseBlkio(bytes: string, operations: string): DeviceIo[] {
  const counts = new Map<string, Counts>();
  const take = (text: string, keys: { readonly Read: keyof Counts; readonly Write: keyof Counts }) => {
    for (const line of text.split('\n')) {
      const [, device, operation, value] = /^(\d+:\d+) (Read|Write) (\d+)$/.exec(line) ?? [];
      if (device === undefined || value === undefined) continue;
      const its = counts.get(device) ?? { ...NONE };
      its[keys[operation as 'Read' | 'Write']] = BigInt(value);
      counts.set(device, its);
    }
  };
  take(bytes, { Read: 'readBytes', Write: 'writeBytes' });
  take(operations, { Read: 'reads', Write: 'writes' });
  return toDevices(counts);
}

/** Undefined where block I/O is not counted. */
export async function readIo({ unifiedDir, v1Dirs }: Cgroup): Promise<readonly DeviceIo[] | undefined> {
  if (v1Dirs.blkio === undefined) {
    const text = await readFile(unifiedDir, 'io.stat');
    return text === undefined ? undefined : parseIoStat(text);
  }
  const [bytes, operations] = await Promise.all(
    ['blkio.throttle.io_service_bytes_recursive', 'blkio.throttle.io_serviced_recursive'].map((file) => readFile(v1Dirs.blkio, file)),
  );
  return bytes === undefined ? undefined : parseBlkio(bytes, operations ?? '');
}
