// Runs a guest kernel's process to its end, under a watchdog, and reads what it left.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

export const root = path.resolve(import.meta.dirname, '../..');

export interface PrepareOptions {
  readonly timeoutMs: number;
  readonly memoryMebibytes: number;
  readonly programs?: readonly string[];
  /** Holds job.sh; exit code and output are expected here. */
  readonly directory: string;
}

export interface Run {
  /** Runs on a CPU made of software. */
  readonly emulated: boolean;
  readonly file: string;
  readonly args: readonly string[];
  /** Written by the guest. */
  readonly exitFile: string;
  readonly outputFile: string;
}

export interface RunResult {
  readonly exitCode: number;
  readonly output: string;
}

/** Kernel parameters that init gets as environment. */
export function guestParameters(kind: 'uml' | 'tcg', jobDirectory: string, timeoutMs: number): string[] {
  return [`TSK_KIND=${kind}`, `TSK_ROOT=${root}`, `TSK_JOB=${jobDirectory}`, `TSK_TIMEOUT=${Math.ceil(timeoutMs / 1000)}`];
}

/** Time for halting, beyond the command's own limit: the guest's watchdog comes first and tells more. */
const MARGIN_MS = 60_000;
/** A boot takes 2 s (uml) to 10 s (tcg), several times that on a busy machine. */
const BOOT_MS = 60_000;
/** What init.sh writes first. */
const UP = 'guest: up\n';

/**
 * What an emulated CPU does to V8 now and then, at any place of a program: the bookkeeping of its compiled code fails, or it jumps
 * into nowhere. The same Node on the host's CPU never did.
 */
const EMULATOR_FAULT =
  /^# Fatal error in , line 0$|\bSegmentation fault\b|\bIllegal instruction\b|\bBus error\b|signal: 'SIG(?:SEGV|BUS|ILL|TRAP)'/m;

/**
 * An emulated kernel that brings up its second CPU while the host is busy hangs now and then, before init: such a boot is repeated,
 * as is a run that failed by a fault of the emulator.
 */
export async function kernelCommand(run: Run, timeoutMs: number, boots = 3): Promise<RunResult> {
  for (const file of [run.exitFile, run.outputFile]) fs.rmSync(file, { force: true });
  const console = await runKernel(run, timeoutMs);
  const output = read(run.outputFile);
  const exit = read(run.exitFile).trim();
  const again = !output.startsWith(UP) || (run.emulated && exit !== '0' && EMULATOR_FAULT.test(output));
  if (again && boots > 1) return kernelCommand(run, timeoutMs, boots - 1);
  if (!/^\d+$/.test(exit)) throw new Error(`${path.basename(run.file)} ended without an exit code\n${output}\n${console}`);
  return { exitCode: Number(exit), output: output.slice(UP.length) };
}

/** Gives the console's end. */
async function runKernel(run: Run, timeoutMs: number): Promise<string> {
  // A process group of its own: UML runs each guest process as one of the host, and a killed UML would leave those behind.
  const child = spawn(run.file, run.args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  const kill = () => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    } catch {
      // Already gone.
    }
  };
  process.on('exit', kill);
  const watchdog = setTimeout(kill, BOOT_MS + timeoutMs + MARGIN_MS);
  const bootWatchdog = setTimeout(() => {
    if (!read(run.outputFile).startsWith(UP)) kill();
  }, BOOT_MS);
  let console = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      console = (console + chunk.toString()).slice(-20_000);
    });
  try {
    await new Promise<void>((resolve, reject) => child.on('error', reject).on('close', () => resolve()));
  } finally {
    clearTimeout(watchdog);
    clearTimeout(bootWatchdog);
    kill();
    process.off('exit', kill);
  }
  return console;
}

function read(file: string): string {
  return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '';
}
