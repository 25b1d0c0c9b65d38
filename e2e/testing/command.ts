// Owns running a program in tests: its output and exit code, with a deadline.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly timeoutMs?: number;
  readonly input?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
}

/** Runs it to its end; a signal is 128 + n as in a shell. */
export function run(command: string, args: readonly string[], options: CommandOptions = {}): Promise<Outcome> {
  const { timeoutMs = 60_000, input, env, cwd } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { env: env ?? process.env, stdio: ['pipe', 'pipe', 'pipe'], ...(cwd === undefined ? {} : { cwd }) });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`${command} ${args.join(' ')} did not end within ${timeoutMs} ms: ${Buffer.concat(err)}`));
    }, timeoutMs);
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const stdout = Buffer.concat(out).toString();
      resolve({ code: code ?? 128 + (signal === 'SIGKILL' ? 9 : 15), stdout, stderr: Buffer.concat(err).toString() });
    });
    // It may end without reading its input.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
  });
}

/** The same, failing unless it ends with 0; gives its standard output. */
export async function check(command: string, args: readonly string[], options: CommandOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await run(command, args, options);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}: ${stderr || stdout}`);
  return stdout;
}

export interface Collected {
  /** What it has written so far. */
  readonly out: () => string;
  readonly err: () => string;
  /** Its exit code, after its last byte; null for a signal. */
  readonly ended: Promise<number | null>;
}

/** Reads a program that goes on running. */
export function collect(child: ChildProcessWithoutNullStreams): Collected {
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk: Buffer) => {
    err += chunk;
  });
  return { out: () => out, err: () => err, ended: new Promise((resolve) => child.once('close', resolve)) };
}
