// For root tests: what this process and its descendants hold in the kernel, before and after. Sees only what is ours, so that other
// tests on the same machine do not disturb: descendants, our descriptors, and the places that the test names.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

export interface LeakScope {
  /** Directories of the test: mounts on or below them count. */
  readonly directories?: readonly string[];
  /** Directories in cgroup hierarchies, below which every cgroup counts; they themselves do too. */
  readonly cgroups?: readonly string[];
  /** Count links and named network namespaces too: for tests in a network namespace of their own. */
  readonly network?: boolean;
  /** Descriptors that may stay, matched against what /proc/self/fd shows ("anon_inode:[pidfd]", a path). */
  readonly keptDescriptors?: RegExp;
}

export interface Snapshot {
  readonly scope: LeakScope;
  /** Each held thing in words; the same words twice are two things. */
  readonly held: readonly string[];
}

/** Node and libuv open these when they first need them and keep them. */
const OF_NODE = /^anon_inode:\[(eventpoll|eventfd|io_uring)\]$|^\/dev\/(null|urandom|pts\/|tty)|\/\.cache\/|\.node$/;

/** Notes what is held now. */
export function snapshot(scope: LeakScope = {}): Snapshot {
  return {
    scope,
    held: [...mounts(scope), ...cgroups(scope), ...processes(), ...descriptors(scope), ...(scope.network ? [...netns(), ...links()] : [])],
  };
}

/** Passes when nothing is held that was not held before; the kernel gets some time, since it ends namespaces and links later. */
export async function assertNoLeaks(before: Snapshot, timeoutMs = 5000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const leaks = added(before.held, snapshot(before.scope).held);
    if (leaks.length === 0) return;
    if (Date.now() >= deadline) assert.fail(`left behind:\n  ${leaks.join('\n  ')}`);
    await delay(20);
  }
}

/** Entries of `after` beyond those of `before`, counting repetitions. */
export function added(before: readonly string[], after: readonly string[]): string[] {
  const known = new Map<string, number>();
  for (const entry of before) known.set(entry, (known.get(entry) ?? 0) + 1);
  return after.filter((entry) => {
    const count = known.get(entry) ?? 0;
    known.set(entry, count - 1);
    return count <= 0;
  });
}

const isBelow = (file: string, directory: string) => file === directory || file.startsWith(`${directory}/`);

function mounts({ directories = [] }: LeakScope): string[] {
  return fs
    .readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, , , , mountpoint = '']) => directories.some((directory) => isBelow(mountpoint, directory)))
    .map((fields) => `mount ${fields[4]} (${fields[fields.indexOf('-') + 1]})`);
}

function cgroups({ cgroups: roots = [] }: LeakScope): string[] {
  const below = (directory: string): string[] => {
    let children: fs.Dirent[];
    try {
      children = fs.readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    } catch {
      // Gone, perhaps since its parent was read.
      return [];
    }
    return [`cgroup ${directory}`, ...children.flatMap((child) => below(path.join(directory, child.name)))];
  };
  return roots.flatMap(below);
}

interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly name: string;
  readonly state: string;
}

function readProcess(pid: number): Process | undefined {
  try {
    // The name stands in parentheses and may contain anything.
    const [, name, state, parent] = /^\d+ \((.*)\) (\S) (\d+)/s.exec(fs.readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? [];
    return name === undefined || state === undefined ? undefined : { pid, parent: Number(parent), name, state };
  } catch {
    return undefined;
  }
}

function descendants(): Process[] {
  const all = fs
    .readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => readProcess(Number(name)) ?? []);
  const below = (parent: number): Process[] =>
    all.filter((entry) => entry.parent === parent).flatMap((entry) => [entry, ...below(entry.pid)]);
  return below(process.pid);
}

function processes(): string[] {
  // An adopted zombie was another's child; in production process 1 reaps it.
  return descendants().map(({ pid, name, state }) => `process ${pid} (${name}, ${state})`);
}

function descriptors({ keptDescriptors }: LeakScope): string[] {
  return fs.readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const target = fs.readlinkSync(`/proc/self/fd/${fd}`);
      // The directory being read has a descriptor of its own.
      if (OF_NODE.test(target) || keptDescriptors?.test(target) || /^\/proc\/\d+\/fd$/.test(target)) return [];
      // Inode numbers of pipes and sockets are kept: a new one is another thing even where an old one went.
      return [`descriptor ${target}`];
    } catch {
      return [];
    }
  });
}

function netns(): string[] {
  const directory = '/run/netns';
  return fs.existsSync(directory) ? fs.readdirSync(directory).map((name) => `network namespace ${name}`) : [];
}

function links(): string[] {
  return [...fs.readFileSync('/proc/self/net/dev', 'utf8').matchAll(/^\s*(\S+):/gm)].map((match) => `link ${match[1]}`);
}
