// Owns ExecSync: a command in a running container, its output bounded, everything that it started ended at its timeout.
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { ExecSyncResponse } from '../../cri-proto/gen/api.ts';
import type { RuntimeContext } from '../context.ts';
import { deadlineExceeded } from '../errors.ts';
import type { Container } from './container.ts';
import { withExec } from './exec-session.ts';
import { exitCodeOf } from './exit.ts';

/** What each stream may give; the rest is read and dropped, as containerd does. */
const MAX_OUTPUT_BYTES = 16 << 20;
/** What a timer can count to, 24 days; a longer timeout means as good as none. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;
/** How long children that inherited the pipes may hold up the answer after the command itself has ended. */
const DRAIN_MS = 2000;

export interface ExecSyncOptions {
  /** 0: no limit. */
  readonly timeoutS: bigint;
  readonly signal: AbortSignal;
}

export function execSync(
  context: RuntimeContext,
  container: Container,
  cmd: readonly string[],
  { timeoutS, signal }: ExecSyncOptions,
): Promise<ExecSyncResponse> {
  const command = { cmd, tty: false, stdin: false, timeoutMs: Math.min(Number(timeoutS) * 1000, MAX_TIMEOUT_MS), signal };
  return withExec(context, container, command, async (session) => {
    const stdout = collect(session.stdout);
    const stderr = collect(session.stderr);
    try {
      const status = await session.exited;
      await Promise.race([Promise.all([stdout.ended, stderr.ended]), delay(DRAIN_MS, undefined, { ref: false })]);
      if (session.timedOut())
        throw deadlineExceeded(`exec ${cmd[0]}: it did not end within ${timeoutS} s and was killed with everything that it started`);
      signal.throwIfAborted();
      return { stdout: stdout.bytes(), stderr: stderr.bytes(), exitCode: status === undefined ? 255 : exitCodeOf(status) };
    } finally {
      session.stdout?.destroy();
      session.stderr?.destroy();
    }
  });
}

function collect(stream: Readable | undefined) {
  const chunks: Buffer[] = [];
  let length = 0;
  stream?.on('data', (chunk: Buffer) => {
    const kept = chunk.subarray(0, MAX_OUTPUT_BYTES - length);
    length += kept.length;
    if (kept.length > 0) chunks.push(kept);
  });
  const ended = new Promise<void>((resolve) => {
    if (stream === undefined) resolve();
    stream?.once('close', resolve);
    stream?.once('end', resolve);
    stream?.once('error', () => resolve());
  });
  return { ended, bytes: () => Buffer.concat(chunks) };
}
