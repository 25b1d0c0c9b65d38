// Owns which CLONE_NEW* flags a set of namespace kinds means, in number and in name.
import * as k from '../linux/constants.ts';
import type { NamespaceKind } from './spec.ts';

const flags: Readonly<Record<NamespaceKind, readonly [number, string]>> = {
  user: [k.CLONE_NEWUSER, 'CLONE_NEWUSER'],
  net: [k.CLONE_NEWNET, 'CLONE_NEWNET'],
  ipc: [k.CLONE_NEWIPC, 'CLONE_NEWIPC'],
  uts: [k.CLONE_NEWUTS, 'CLONE_NEWUTS'],
  pid: [k.CLONE_NEWPID, 'CLONE_NEWPID'],
  mnt: [k.CLONE_NEWNS, 'CLONE_NEWNS'],
  cgroup: [k.CLONE_NEWCGROUP, 'CLONE_NEWCGROUP'],
  time: [k.CLONE_NEWTIME, 'CLONE_NEWTIME'],
};

export function namespaceFlags(kinds: readonly NamespaceKind[]): { readonly value: number; readonly shows: string } {
  return {
    value: kinds.reduce((sum, kind) => sum + flags[kind][0], 0),
    shows: kinds.length === 0 ? '0' : kinds.map((kind) => flags[kind][1]).join('|'),
  };
}
