// Owns asking the kernel whether overlayfs can write into a directory. It is tried, not guessed: filesystems that it refuses differ from
// one kernel to the next, and some let the mount succeed and fail at the first whiteout.
import fs from 'node:fs';
import path from 'node:path';
import { makeNode, S_IFCHR } from '../linux/mknod.ts';
import { syscall, trySyscall } from '../linux/syscall.ts';
import { setXattr } from '../linux/xattr.ts';

const MNT_DETACH = 2;

export interface OverlaySupport {
  /** The directory can be an overlay's upperdir. */
  readonly upper: boolean;
  /** Whiteouts and opaque directories can be written into it, so layers can be kept apart. */
  readonly whiteouts: boolean;
  /** The mount option of that name is known (Linux 5.10). */
  readonly volatile: boolean;
  /** Why not; "" when both are possible. */
  readonly reason: string;
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Mounts a small overlay below `dir` for the blink of an eye, uses it, and removes everything. Costs about a millisecond. */
export function probeOverlay(dir: string): OverlaySupport {
  const home = fs.mkdtempSync(path.join(dir, 'probe-'));
  try {
    const whiteouts = attempt(() => tryWhiteouts(home));
    const volatile = attempt(() => tryMount(home, 'v', ',volatile'));
    const upper = volatile === undefined ? undefined : attempt(() => tryMount(home, 'p', ''));
    return {
      upper: upper === undefined,
      whiteouts: whiteouts === undefined,
      volatile: volatile === undefined,
      reason: upper ?? whiteouts ?? '',
    };
  } finally {
    for (const attempted of ['v', 'p']) trySyscall('umount2', path.join(home, attempted, 'merged'), MNT_DETACH);
    fs.rmSync(home, { recursive: true, force: true });
  }
}

function attempt(action: () => void): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

function tryWhiteouts(home: string): void {
  makeNode(path.join(home, 'whiteout'), S_IFCHR, 0);
  const opaque = path.join(home, 'opaque');
  fs.mkdirSync(opaque);
  setXattr(opaque, 'trusted.overlay.opaque', Buffer.from('y'));
}

function tryMount(home: string, place: string, options: string): void {
  const at = (...names: string[]) => path.join(home, place, ...names);
  fs.mkdirSync(at());
  for (const name of ['lower', 'upper', 'work', 'merged', 'lower/directory']) fs.mkdirSync(at(name));
  fs.writeFileSync(at('lower/file'), '');
  fs.writeFileSync(at('lower/directory/file'), '');
  const directories = `lowerdir=${at('lower')},upperdir=${at('upper')},workdir=${at('work')}`;
  syscall('mount', 'overlay', at('merged'), 'overlay', 0, `${directories}${options}`);
  // A whiteout, a copy-up and an opaque directory.
  fs.unlinkSync(at('merged/file'));
  fs.writeFileSync(at('merged/directory/file'), 'x');
  fs.rmSync(at('merged/directory'), { recursive: true });
  fs.mkdirSync(at('merged/directory'));
  if (fs.readdirSync(at('merged')).length !== 1 || fs.readdirSync(at('merged/directory')).length !== 0) {
    throw new Error('overlayfs does not hide removed files there');
  }
}
