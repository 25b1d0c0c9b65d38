// Owns the program of a sandbox's pause process: it makes the namespaces that the containers share, and holds them until it is killed.
import { Buffer } from 'node:buffer';
import * as k from '../linux/constants.ts';
import { type Program, ProgramBuilder, ref, shown } from './builder.ts';
import type { ProgramTarget } from './container-program.ts';
import { namespaceFlags } from './namespaces.ts';
import { addOomScore } from './process-steps.ts';
import { FD } from './records.ts';
import { addEndlessWait, addPrologue, placeCloneArgs, placeRecord, sendRecord } from './shim-steps.ts';
import type { NamespaceKind, PauseSpec, TimeOffset } from './spec.ts';

/** "net.ipv4.ip_forward" → /proc/sys/net/ipv4/ip_forward; with the first separator a slash, dots are part of names. sysctl.d(5) */
export function sysctlPath(name: string): string {
  const firstSeparator = /[./]/.exec(name)?.[0];
  const path = firstSeparator === '/' ? name : name.replace(/[./]/g, (separator) => (separator === '.' ? '/' : '.'));
  if (path.split('/').some((part) => part === '..' || part === '')) throw new Error(`sysctl name "${name}" is not valid`);
  return `/proc/sys/${path}`;
}

/** With pid 'new' and no user namespace the launcher has made the PID namespace already: this process is PID 1 in it. */
export function planPauseProgram(spec: PauseSpec, target: ProgramTarget): Program {
  const p = new ProgramBuilder({ recordId: target.recordId, ...(target.arch === undefined ? {} : { arch: target.arch }) });
  const { namespaces } = spec;
  addPrologue(p, 'tskubelet-pause');
  addOomScore(p, target.recordId, spec.oomScoreAdj);
  for (const procs of spec.cgroup.v1Procs) {
    const file = p.slot('cgroup.procs');
    p.op('openat', [k.AT_FDCWD, procs, k.O_WRONLY | k.O_CLOEXEC, 0], { dst: file });
    p.op('write', [ref(file), '0', 1], { note: 'joins this hierarchy' });
    p.op('close', [ref(file)]);
  }
  p.phase('namespaces');
  if (namespaces.time === 'new') addTimeNamespace(p, spec.timeOffsets ?? []);
  if (namespaces.user === 'new') addUserNamespace(p, target.recordId, namespaces.pid === 'new');
  const kinds = (['net', 'ipc', 'uts'] as const).filter((kind) => namespaces[kind] === 'new') as NamespaceKind[];
  if (kinds.length > 0) {
    const { value, shows } = namespaceFlags(kinds);
    p.op('unshare', [shown(value, shows)]);
  }
  if (namespaces.uts === 'new' && spec.hostname !== '') p.op('sethostname', [spec.hostname, Buffer.byteLength(spec.hostname)]);
  if (namespaces.net === 'new') {
    addLoopback(p);
    addRouterDistrust(p);
  }
  for (const [name, value] of Object.entries(spec.sysctls)) addSysctl(p, name, value);
  p.phase('wait');
  p.op('rt_sigaction', [k.SIGCHLD, shown(p.words([1, 0, 0, 0]), 'SIG_IGN'), 0, 8], { note: 'the kernel reaps what dies here' });
  p.op('chdir', ['/']);
  sendRecord(p, placeRecord(p, target.recordId, 'ready'), 'ready');
  // The event FIFO stays open: by it a new daemon recognises its own processes.
  p.op('close_range', [0, FD.events - 1, 0]);
  p.op('close_range', [FD.events + 1, 0xffffffff, 0]);
  addEndlessWait(p, 'holds the namespaces');
  return p.finish();
}

/**
 * Before any user namespace, whose root may not write the offsets of a process that is not dumpable. unshare(2) would move children only;
 * who joins this process takes the namespace that it is in itself. time_namespaces(7)
 */
function addTimeNamespace(p: ProgramBuilder, offsets: readonly TimeOffset[]): void {
  p.op('unshare', [shown(k.CLONE_NEWTIME, 'CLONE_NEWTIME')]);
  const file = p.slot('timens_offsets');
  const text = offsets.map(({ clock, seconds }) => `${clock} ${seconds} 0\n`).join('');
  p.op('openat', [k.AT_FDCWD, '/proc/self/timens_offsets', k.O_WRONLY | k.O_CLOEXEC, 0], { dst: file });
  p.op('write', [ref(file), text, Buffer.byteLength(text)], { note: 'while nobody is in it yet' });
  p.op('close', [ref(file)]);
  const own = p.slot('time_for_children');
  p.op('openat', [k.AT_FDCWD, '/proc/self/ns/time_for_children', k.O_RDONLY | k.O_CLOEXEC, 0], { dst: own });
  p.op('setns', [ref(own), shown(k.CLONE_NEWTIME, 'CLONE_NEWTIME')]);
  p.op('close', [ref(own)]);
}

/** The daemon writes the id maps: only it may map more than one id. Everything unshared after this belongs to the user namespace. */
function addUserNamespace(p: ProgramBuilder, recordId: number, ownPids: boolean): void {
  p.op('unshare', [shown(k.CLONE_NEWUSER, 'CLONE_NEWUSER')]);
  sendRecord(p, placeRecord(p, recordId, 'wantsIdMaps'), 'wantsIdMaps');
  const go = p.slot('go');
  p.op('read', [FD.stdin, shown(go, '&go'), 1], { retry: true, note: 'one byte when the maps are written' });
  p.op('setresgid', [0, 0, 0]);
  p.op('setresuid', [0, 0, 0]);
  if (!ownPids) return;
  // The PID namespace must belong to the user namespace, or no /proc can be mounted for it: so a child takes this process' place.
  const child = p.label();
  const pid = p.slot('pid');
  const started = placeRecord(p, recordId, 'started');
  const args = placeCloneArgs(p, k.CLONE_NEWPID | k.CLONE_PARENT);
  // exit_signal must be 0 with CLONE_PARENT: it is the parent's.
  p.store64(args + 32, 0);
  p.op('clone3', [shown(args, 'CLONE_NEWPID|CLONE_PARENT'), k.CLONE_ARGS_BYTES], { dst: pid, onZero: child });
  p.copy(pid, started + 8);
  sendRecord(p, started, 'started');
  p.op('exit_group', [0]);
  p.place(child);
  p.op('read', [FD.stdin, shown(go, '&go'), 1], { retry: true, note: 'one byte when the daemon knows this process' });
}

/** struct ifreq with ifr_flags; a new network namespace has its loopback device down. netdevice(7) */
function addLoopback(p: ProgramBuilder): void {
  const request = Buffer.alloc(40);
  request.write('lo');
  request.writeUInt16LE(0x49, 16); // IFF_UP | IFF_LOOPBACK | IFF_RUNNING
  const socket = p.slot('socket');
  p.op('socket', [2, 2 | k.O_CLOEXEC, 0], { dst: socket });
  p.op('ioctl', [ref(socket), shown(k.SIOCSIFFLAGS, 'SIOCSIFFLAGS'), shown(p.data(request), 'lo up')]);
  p.op('close', [ref(socket)]);
}

/** A neighbour on the bridge could make itself the router of this sandbox (CVE-2020-10749). Interfaces to come take it from "default". */
function addRouterDistrust(p: ProgramBuilder): void {
  const file = p.slot('accept_ra');
  const without = p.label();
  const path = sysctlPath('net.ipv6.conf.default.accept_ra');
  p.tolerate([k.ENOENT], 'openat', [k.AT_FDCWD, path, k.O_WRONLY | k.O_CLOEXEC, 0], {
    dst: file,
    onTolerated: without,
    note: 'router advertisements are not for pods; a kernel without IPv6 has none',
  });
  p.op('write', [ref(file), '0', 1]);
  p.op('close', [ref(file)]);
  p.place(without);
}

/** /proc/sys shows the namespaces of whoever opens it. */
function addSysctl(p: ProgramBuilder, name: string, value: string): void {
  const file = p.slot(name);
  p.op('openat', [k.AT_FDCWD, sysctlPath(name), k.O_WRONLY | k.O_CLOEXEC, 0], { dst: file });
  p.op('write', [ref(file), value, Buffer.byteLength(value)]);
  p.op('close', [ref(file)]);
}
