// Reads pressure stall information of a cgroup: the unified hierarchy has it, hybrid hosts included. Documentation/accounting/psi.rst
import type { Cgroup } from './cgroup.ts';
import { readFile } from './read-file.ts';

export interface PressureLine {
  readonly totalNs: bigint;
  /** Percent. */
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
}

export interface Pressure {
  /** At least one task waited. */
  readonly some?: PressureLine;
  /** None could run. */
  readonly full?: PressureLine;
}

export interface PressureStats {
  readonly cpu?: Pressure;
  readonly memory?: Pressure;
  readonly io?: Pressure;
}

/** "some avg10=0.00 avg60=0.00 avg300=0.00 total=0" (total in µs), then the same for "full". Undefined when the kernel keeps none. */
export function parsePressure(text: string | undefined): Pressure | undefined {
  const lines: { some?: PressureLine; full?: PressureLine } = {};
  for (const line of (text ?? '').split('\n')) {
    const match = /^(some|full) avg10=([\d.]+) avg60=([\d.]+) avg300=([\d.]+) total=(\d+)$/.exec(line);
    if (match === null) continue;
    const [, kind, avg10, avg60, avg300, total = '0'] = match;
    lines[kind as 'some' | 'full'] = {
      totalNs: BigInt(total) * 1000n,
      avg10: Number(avg10),
      avg60: Number(avg60),
      avg300: Number(avg300),
    };
  }
  return lines.some === undefined && lines.full === undefined ? undefined : lines;
}

export async function readPressure({ unifiedDir }: Cgroup): Promise<PressureStats> {
  const [cpu, memory, io] = await Promise.all(
    ['cpu.pressure', 'memory.pressure', 'io.pressure'].map(async (file) => parsePressure(await readFile(unifiedDir, file))),
  );
  return { ...(cpu && { cpu }), ...(memory && { memory }), ...(io && { io }) };
}
