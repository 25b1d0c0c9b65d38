// Owns a container's terminal: the pty is opened in the container's own devpts, its master stays with the shim.
//
// Shim and child share their descriptors (CLONE_FILES) while the shim waits in vfork: the child puts the master where the shim keeps
// it, and only then takes a table of its own. No message is needed to hand it over.
import { Buffer } from 'node:buffer';
import * as k from '../linux/constants.ts';
import { type ProgramBuilder, ref, shown } from './builder.ts';
import { FD } from './records.ts';

export interface Terminal {
  readonly master: number;
  readonly slave: number;
}

const FLAGS = k.O_RDWR | k.O_NOCTTY | k.O_CLOEXEC;

/** Opens a pty. After /dev/pts is there; no name of it is needed: the other end comes by TIOCGPTPEER. */
export function addTerminal(p: ProgramBuilder, options: { readonly console: boolean } = { console: true }): Terminal {
  p.phase('terminal');
  const master = p.slot('terminal master');
  const slave = p.slot('terminal');
  p.op('openat', [k.AT_FDCWD, '/dev/pts/ptmx', FLAGS, 0], { dst: master });
  p.op('ioctl', [ref(master), shown(k.TIOCSPTLCK, 'TIOCSPTLCK'), shown(p.words([0]), 'unlock')]);
  const size = Buffer.from(Uint16Array.of(24, 80, 0, 0).buffer);
  p.op('ioctl', [ref(master), shown(k.TIOCSWINSZ, 'TIOCSWINSZ'), shown(p.data(size), '24 rows, 80 columns')]);
  p.op('ioctl', [ref(master), shown(k.TIOCGPTPEER, 'TIOCGPTPEER'), FLAGS], { dst: slave });
  if (!options.console) return { master, slave };
  const tree = p.slot('console');
  const file = p.slot('console file');
  p.op('openat', [k.AT_FDCWD, '/dev/console', k.O_CREAT | k.O_NOCTTY | k.O_CLOEXEC, shown(0o600, '0600')], { dst: file });
  p.op('open_tree', [ref(slave), '', k.OPEN_TREE_CLONE | k.OPEN_TREE_CLOEXEC | k.AT_EMPTY_PATH], { dst: tree });
  p.op('move_mount', [ref(tree), '', k.AT_FDCWD, '/dev/console', k.MOVE_MOUNT_F_EMPTY_PATH], { note: 'the terminal is the console' });
  p.op('close', [ref(file)]);
  return { master, slave };
}

/** Leaves the master with the shim and makes the other end the controlling terminal. Needs a session of its own. */
export function keepTerminal(p: ProgramBuilder, { master, slave }: Terminal, uid: number): void {
  p.phase('terminal');
  p.op('dup3', [ref(master), FD.terminal, k.O_CLOEXEC], { note: 'the shim keeps it: a closed master hangs up on the container' });
  p.op('unshare', [shown(k.CLONE_FILES, 'CLONE_FILES')]);
  p.op('ioctl', [ref(slave), shown(k.TIOCSCTTY, 'TIOCSCTTY'), 0]);
  if (uid !== 0) p.op('fchown', [ref(slave), uid, -1], { note: 'its user may open it again by name' });
}
