// Owns the program criu: whether it works on this kernel, and what it says when it does not.
import { unimplemented } from '../errors.ts';
import { runCommand } from '../linux/command.ts';
import { hasCode } from '../linux/errno.ts';

const CHECK_MS = 20_000;

let obstacle: Promise<string | undefined> | undefined;

/** Throws UNIMPLEMENTED with the reason where `criu check` does not pass. Looked at once: kernel and program do not change. */
export async function requireCriu(): Promise<void> {
  obstacle ??= findObstacle();
  const found = await obstacle;
  if (found !== undefined) throw unimplemented(`checkpoints need criu: ${found}`);
}

async function findObstacle(): Promise<string | undefined> {
  try {
    const { exitCode, stdout, stderr } = await runCommand(['criu', 'check'], { timeoutMs: CHECK_MS });
    return exitCode === 0 ? undefined : `"criu check" does not pass on this kernel: ${renderCriuError(`${stdout}${stderr}`)}`;
  } catch (error) {
    return hasCode(error, 'ENOENT') ? 'it is not installed' : `"criu check": ${(error as Error).message}`;
  }
}

/** The first error that criu tells is the cause; the ones behind it are how it went on. "(00.01) Error (criu/mount.c:1): mnt: no" → "mnt: no" */
export function renderCriuError(text: string): string {
  const errors = text.split('\n').flatMap((line) => /Error \([^)]*\): (.*)$/.exec(line)?.[1]?.trim() ?? []);
  return errors.find((error) => !error.startsWith('exited')) ?? 'it tells no reason';
}
