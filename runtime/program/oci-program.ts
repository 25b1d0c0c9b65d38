// Owns the shim of a container that an external OCI runtime makes. Pure.
//
//   shim      prologue · overlay · subreaper · clone ─▶ waits ▶ "created" · reads init's pid · pidfd · terminal ▶ started · as every shim
//   creator                                     └▶ execve RUNTIME create, which leaves the init that waits for RUNTIME start
//
// The runtime's process ends after the creation, and its child becomes the shim's: so the exit status of init is the kernel's word and no
// one else's. The daemon reads the pid file and tells the pid, since a program has no way to read a number.
import * as k from '../linux/constants.ts';
import { type Program, ProgramBuilder, ref, shown } from './builder.ts';
import { addSignals } from './process-steps.ts';
import { FD } from './records.ts';
import { addMappedOverlay, addOverlay, type Owner } from './rootfs-steps.ts';
import { addClone, addPrologue, addShim, placeRecord, sendRecord } from './shim-steps.ts';
import type { Rootfs } from './spec.ts';

export interface OciCreateSpec {
  readonly recordId: number;
  /** Mounted here, on the host: whoever starts this has written down that it may have to be unmounted. */
  readonly rootfs: Rootfs;
  /** Who is root in the container's user namespace, as the host numbers it; the layers are mapped then. */
  readonly rootOwner?: Owner;
  /** Working directory of the runtime. */
  readonly bundle: string;
  /** The runtime's executable and arguments. */
  readonly argv: readonly string[];
  readonly env: readonly string[];
  /** The runtime sends the terminal's master to the socket CONSOLE_SOCKET in the bundle. */
  readonly terminal: boolean;
  readonly keepsStdin: boolean;
  readonly ignoredSignals: readonly number[];
}

/** Relative to the bundle: the address of a socket has 108 bytes at most. unix(7) */
export const CONSOLE_SOCKET = 'console';

export function planOciProgram(spec: OciCreateSpec): Program {
  const p = new ProgramBuilder({ recordId: spec.recordId });
  addPrologue(p, 'tskubelet-shim');
  p.phase('root');
  if (spec.rootOwner === undefined) addOverlay(p, spec.rootfs, spec.rootfs.lowerDirs);
  else addMappedOverlay(p, spec.rootfs, spec.rootOwner);
  p.op('chdir', [spec.bundle]);
  const socket = spec.terminal ? addConsoleSocket(p) : undefined;
  p.phase('create');
  const { child, pid, pidfd } = addMaker(p, { recordId: spec.recordId, intoCgroup: false, pipe: FD.join, note: 'the OCI runtime' });
  if (socket !== undefined) addReceiveTerminal(p, socket);
  addShim(p, { recordId: spec.recordId, pid, pidfd, of: 'container', holdsStdin: spec.keepsStdin });

  p.place(child);
  addCreator(p, spec);
  return p.finish();
}

interface Maker {
  readonly recordId: number;
  readonly intoCgroup: boolean;
  /** The descriptor that the pid of init comes by. */
  readonly pipe: number;
  readonly note: string;
}

/** Clones the program that makes a container's init and ends; its init is then this process' child. `child` is to be placed. */
export function addMaker(p: ProgramBuilder, { recordId, intoCgroup, pipe, note }: Maker) {
  p.op('prctl', [k.PR_SET_CHILD_SUBREAPER, 1], { note: 'the program ends, and its child becomes ours' });
  const child = p.label();
  const maker = addClone(p, { flags: 0, shows: '', intoCgroup, child, note });
  p.op('close', [ref(maker.pidfd)]);
  const created = placeRecord(p, recordId, 'created');
  p.op('wait4', [ref(maker.pid), shown(created + 8, '&wait status'), k.WALL, 0], { retry: true });
  sendRecord(p, created, 'created');
  const init = addInitPid(p, pipe);
  p.op('prctl', [k.PR_SET_CHILD_SUBREAPER, 0], { note: 'orphans of the container are its own or the host’s, not ours' });
  return { child, ...init };
}

/** The end of the pipe instead of a pid: the daemon is gone, or has given up. */
function addInitPid(p: ProgramBuilder, pipe: number): { pid: number; pidfd: number } {
  const pid = p.slot('pid');
  const pidfd = p.slot('pidfd');
  const gone = p.label();
  const told = p.label();
  p.op('read', [pipe, shown(pid, '&pid'), 8], { retry: true, onZero: gone, onPositive: told, note: 'the pid of init, from its file' });
  p.place(gone);
  p.op('exit_group', [1]);
  p.place(told);
  p.op('pidfd_open', [ref(pid), 0], { dst: pidfd });
  return { pid, pidfd };
}

function addConsoleSocket(p: ProgramBuilder): number {
  p.phase('terminal');
  const socket = p.slot('console socket');
  const type = k.SOCK_STREAM | k.SOCK_CLOEXEC | k.SOCK_NONBLOCK;
  p.op('socket', [k.AF_UNIX, type, 0], { dst: socket });
  // struct sockaddr_un { sa_family_t sun_family; char sun_path[108]; }
  const address = Buffer.alloc(2 + CONSOLE_SOCKET.length + 1);
  address.writeUInt16LE(k.AF_UNIX);
  address.write(CONSOLE_SOCKET, 2);
  p.op('bind', [ref(socket), shown(p.data(address), CONSOLE_SOCKET), address.length]);
  p.op('listen', [ref(socket), 1]);
  return socket;
}

const DATA_BYTES = 4096;
// CMSG_SPACE(sizeof(int)): struct cmsghdr { size_t cmsg_len; int cmsg_level; int cmsg_type; }, the descriptor, padding. cmsg(3)
const CONTROL_BYTES = 24;
const CONTROL_FD_AT = 16;

/** What the runtime has sent waits in the socket: nothing here waits for it. */
function addReceiveTerminal(p: ProgramBuilder, socket: number): void {
  p.phase('terminal');
  const connection = p.slot('console connection');
  p.op('accept4', [ref(socket), 0, 0, k.SOCK_CLOEXEC], { dst: connection });
  const control = p.alloc(CONTROL_BYTES);
  const buffer = p.words([p.alloc(DATA_BYTES), DATA_BYTES]);
  // struct msghdr of recvmsg(2)
  const message = p.words([0, 0, buffer, 1, control, CONTROL_BYTES, 0]);
  p.nameSlot(control + CONTROL_FD_AT, 'terminal master');
  p.op('recvmsg', [ref(connection), shown(message, 'a descriptor'), k.MSG_CMSG_CLOEXEC]);
  p.op('dup3', [ref(control + CONTROL_FD_AT), FD.terminal, k.O_CLOEXEC], { note: 'a closed master hangs up on the container' });
  for (const fd of [control + CONTROL_FD_AT, connection, socket]) p.op('close', [ref(fd)]);
}

function addCreator(p: ProgramBuilder, { argv, env, ignoredSignals }: OciCreateSpec): void {
  p.phase('runtime');
  p.op('prctl', [k.PR_SET_PDEATHSIG, k.SIGKILL], { note: 'a container that nobody waits for is not made' });
  for (const fd of [0, 1, 2]) p.op('dup3', [FD.stdin + fd, fd, 0]);
  p.op('close_range', [3, 0xffffffff, k.CLOSE_RANGE_CLOEXEC]);
  p.op('umask', [0o022]);
  addSignals(p, ignoredSignals);
  p.op('execve', [argv[0] ?? '', shown(p.stringArray(argv), JSON.stringify(argv)), shown(p.stringArray(env), `${env.length} variables`)]);
}
