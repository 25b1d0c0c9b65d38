// Owns how numbers in a system call's arguments are shown: flags and enumerations by their kernel names, by call and position.
import os from 'node:os';
import * as k from '../linux/constants.ts';

type Names = readonly (readonly [number, string])[];

function pick(...prefixes: string[]): Names {
  return Object.entries(k)
    .filter(([name]) => prefixes.some((prefix) => name.startsWith(prefix)))
    .map(([name, value]) => [value, name] as const)
    .sort(([a], [b]) => a - b);
}

const open: Names = [...pick('O_').filter(([value]) => value !== 0)];
const at: Names = [
  [k.AT_EMPTY_PATH, 'AT_EMPTY_PATH'],
  [k.AT_RECURSIVE, 'AT_RECURSIVE'],
  [k.AT_SYMLINK_NOFOLLOW, 'AT_SYMLINK_NOFOLLOW'],
];

const flags: Readonly<Record<string, Names>> = {
  'mount 3': pick('MS_'),
  'umount2 1': [[k.MNT_DETACH, 'MNT_DETACH']],
  'openat 2': open,
  'ioctl 2': [],
  'open_tree 2': [...pick('OPEN_TREE_'), ...at],
  'move_mount 4': pick('MOVE_MOUNT_'),
  'mount_setattr 2': at,
  'fsopen 1': [[k.FSOPEN_CLOEXEC, 'FSOPEN_CLOEXEC']],
  'fsmount 1': [[k.FSMOUNT_CLOEXEC, 'FSMOUNT_CLOEXEC']],
  'fsmount 2': pick('MOUNT_ATTR_').filter(([, name]) => name !== 'MOUNT_ATTR_BYTES'),
  'close_range 2': [[k.CLOSE_RANGE_CLOEXEC, 'CLOSE_RANGE_CLOEXEC']],
  'dup3 2': [[k.O_CLOEXEC, 'O_CLOEXEC']],
  'execveat 4': at,
  'wait4 2': [[k.WALL, '__WALL']],
};

const values: Readonly<Record<string, Names>> = {
  'prctl 0': [
    [k.PR_SET_DUMPABLE, 'PR_SET_DUMPABLE'],
    [k.PR_SET_KEEPCAPS, 'PR_SET_KEEPCAPS'],
    [k.PR_SET_NAME, 'PR_SET_NAME'],
    [k.PR_CAPBSET_DROP, 'PR_CAPBSET_DROP'],
    [k.PR_SET_NO_NEW_PRIVS, 'PR_SET_NO_NEW_PRIVS'],
    [k.PR_CAP_AMBIENT, 'PR_CAP_AMBIENT'],
  ],
  'rt_sigprocmask 0': [[k.SIG_SETMASK, 'SIG_SETMASK']],
  'rt_sigaction 0': Object.entries(os.constants.signals).map(([name, number]) => [number, name] as const),
  'seccomp 0': [[k.SECCOMP_SET_MODE_FILTER, 'SECCOMP_SET_MODE_FILTER']],
  'clock_gettime 0': [[k.CLOCK_REALTIME, 'CLOCK_REALTIME']],
};

/** The name of a number at a position; undefined where it is just a number. */
export function renderFlags(call: string, index: number, value: number | bigint): string | undefined {
  const number = Number(value);
  if (number === k.AT_FDCWD) return 'AT_FDCWD';
  const key = `${call} ${index}`;
  const single = values[key]?.find(([known]) => known === number);
  if (single !== undefined) return single[1];
  const table = flags[key];
  if (table === undefined || number === 0) return undefined;
  let rest = number;
  const names: string[] = [];
  for (const [bit, name] of table) {
    if ((rest & bit) !== bit || bit === 0) continue;
    names.push(name);
    rest &= ~bit;
  }
  if (names.length === 0) return undefined;
  return [...names, ...(rest === 0 ? [] : [`0x${rest.toString(16)}`])].join('|');
}
