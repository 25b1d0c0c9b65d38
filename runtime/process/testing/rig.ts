// Owns what root tests of processes share: a temp dir with a busybox image, an event FIFO, pause and container specs, output as text.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { performance } from 'node:perf_hooks';
import { DEFAULT_CAPABILITIES } from '../../program/capabilities.ts';
import { DEFAULT_MASKED_PATHS, DEFAULT_PATH, DEFAULT_READONLY_PATHS } from '../../program/defaults.ts';
import type { Capabilities, ContainerSpec, ExecSpec, NamespaceKind, PauseSpec, Process } from '../../program/spec.ts';
import { type ContainerProcess, createStdio, type StartContainerOptions, startContainer } from '../container.ts';
import { type Events, openEvents } from '../events.ts';
import type { ExitStatus } from '../exit-file.ts';
import { killPauseProcess, type PauseProcess, startPause } from '../pause.ts';

const busybox = '/usr/bin/busybox';

/** False, or why the tests of this file cannot run. */
export function skipReason(): string | false {
  if (process.getuid?.() !== 0) return 'needs root';
  if (!fs.existsSync(busybox)) return 'needs /usr/bin/busybox (busybox-static)';
  return false;
}

export function capabilities(names: readonly string[]): Capabilities {
  return { bounding: names, effective: names, permitted: names, inheritable: [], ambient: [] };
}

export function processSpec(args: readonly string[], changes: Partial<Process> = {}): Process {
  return {
    args,
    env: [`PATH=${DEFAULT_PATH}`],
    cwd: '/',
    user: { uid: 0, gid: 0, additionalGids: [] },
    capabilities: capabilities(DEFAULT_CAPABILITIES),
    noNewPrivileges: true,
    rlimits: [],
    terminal: false,
    ...changes,
  };
}

export const ALL_KINDS: readonly NamespaceKind[] = ['mnt', 'pid', 'net', 'ipc', 'uts', 'cgroup'];

export function execSpec(args: readonly string[], changes: Partial<Process> = {}): ExecSpec {
  return { process: processSpec(args, changes), cgroup: { v1Procs: [] }, namespaces: ALL_KINDS };
}

export function pauseSpec(changes: Partial<PauseSpec> = {}): PauseSpec {
  return {
    namespaces: { net: 'new', ipc: 'new', uts: 'new', pid: 'host', user: 'host' },
    hostname: 'sandbox',
    sysctls: {},
    cgroup: { v1Procs: [] },
    ...changes,
  };
}

export interface Ran {
  readonly exit: ExitStatus | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

export class Rig {
  readonly dir: string;
  readonly events: Events;
  readonly image: string;
  #lastId = 100;
  readonly #pauses: PauseProcess[] = [];
  readonly #containers: ContainerProcess[] = [];

  constructor() {
    this.dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tsk-process-'));
    fs.chmodSync(this.dir, 0o755);
    this.events = openEvents(path.join(this.dir, 'events'));
    this.image = path.join(this.dir, 'image');
    makeImage(this.image);
  }

  nextId(): number {
    return ++this.#lastId;
  }

  async pause(spec: PauseSpec = pauseSpec()): Promise<PauseProcess> {
    const pause = await startPause(spec, { events: this.events, recordId: this.nextId(), name: 'sandbox' });
    this.#pauses.push(pause);
    return pause;
  }

  /** A spec whose directories exist. */
  spec(args: readonly string[], changes: Partial<ContainerSpec> & { readonly in?: Partial<Process> } = {}): ContainerSpec {
    const { in: inProcess = {}, ...rest } = changes;
    const dir = path.join(this.dir, `container-${this.nextId()}`);
    for (const name of ['upper', 'work', 'rootfs', 'shm']) fs.mkdirSync(path.join(dir, name), { recursive: true });
    return {
      rootfs: {
        lowerDirs: [this.image],
        upperDir: path.join(dir, 'upper'),
        workDir: path.join(dir, 'work'),
        mountpoint: path.join(dir, 'rootfs'),
        readonly: false,
      },
      namespaces: { net: 'join', ipc: 'join', uts: 'join', pid: 'new', cgroup: 'new', user: 'host' },
      process: processSpec(args, inProcess),
      mounts: [],
      devices: [],
      maskedPaths: DEFAULT_MASKED_PATHS,
      readonlyPaths: DEFAULT_READONLY_PATHS,
      cgroup: { v1Procs: [] },
      privileged: false,
      cgroupMount: 'none',
      keepsStdin: false,
      shmSource: path.join(dir, 'shm'),
      ...rest,
    };
  }

  async start(spec: ContainerSpec, pause: { readonly pid: number }, changes: Partial<StartContainerOptions> = {}): Promise<Started> {
    const recordId = changes.recordId ?? this.nextId();
    const dir = path.join(this.dir, `run-${recordId}`);
    fs.mkdirSync(dir);
    const host = (id: number, mappings: ContainerSpec['uidMappings']) => (mappings?.[0]?.hostId ?? 0) + id;
    const { uid, gid } = spec.process.user;
    await createStdio(dir, {
      stdin: spec.keepsStdin,
      uid: host(uid, spec.uidMappings),
      gid: host(gid, spec.gidMappings),
    });
    // What the log pump does: a reader from before the start, so that nothing is lost when the shim goes.
    const readers = ['stdout', 'stderr'].map((name) => fs.openSync(path.join(dir, name), fs.constants.O_RDONLY | fs.constants.O_NONBLOCK));
    try {
      const { result: container, blockedMs } = await measureBlocked(() =>
        startContainer(spec, {
          events: this.events,
          recordId,
          name: `container-${recordId}`,
          pausePid: pause.pid,
          stdioDir: dir,
          exitFile: path.join(dir, 'exit'),
          ...changes,
        }),
      );
      this.#containers.push(container);
      return { container, dir, recordId, readers, blockedMs };
    } catch (error) {
      for (const fd of readers) fs.closeSync(fd);
      throw error;
    }
  }

  /** Runs a container to its end and gives what it wrote. */
  async run(spec: ContainerSpec, pause: { readonly pid: number }, changes: Partial<StartContainerOptions> = {}): Promise<Ran> {
    return finish(await this.start(spec, pause, changes));
  }

  async close(): Promise<void> {
    for (const container of this.#containers) {
      container.kill(9);
      await container.release();
    }
    for (const pause of this.#pauses) await killPauseProcess(pause.pid);
    this.events.close();
    fs.rmSync(this.dir, { recursive: true, force: true });
  }
}

export interface Started {
  readonly container: ContainerProcess;
  readonly dir: string;
  readonly recordId: number;
  readonly readers: readonly number[];
  /** What measureBlocked says of its startContainer. */
  readonly blockedMs: number;
}

/** How long the event loop was busy, or kept from the CPU, until `start` resolved: all of it is the start's own when nothing else runs. */
export async function measureBlocked<T>(start: () => Promise<T>): Promise<{ readonly result: T; readonly blockedMs: number }> {
  const before = performance.eventLoopUtilization();
  const began = performance.now();
  const result = await start();
  const elapsedMs = performance.now() - began;
  return { result, blockedMs: elapsedMs - performance.eventLoopUtilization(before).idle };
}

export async function finish({ container, readers }: Started): Promise<Ran> {
  const exit = await container.exited;
  const [stdout = '', stderr = ''] = readers.map((fd) => {
    const text = drain(fd);
    fs.closeSync(fd);
    return text;
  });
  await container.release();
  return { exit, stdout, stderr };
}

/** Everything that waits in a pipe (as much as a pipe holds). */
export function drain(fd: number): string {
  const chunks: Buffer[] = [];
  for (;;) {
    const chunk = Buffer.alloc(64 * 1024);
    let length: number;
    try {
      length = fs.readSync(fd, chunk);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') break;
      throw error;
    }
    if (length === 0) break;
    chunks.push(chunk.subarray(0, length));
  }
  return Buffer.concat(chunks).toString();
}

function makeImage(image: string): void {
  for (const name of ['bin', 'etc', 'tmp', 'root', 'var', 'proc', 'sys', 'dev']) fs.mkdirSync(path.join(image, name), { recursive: true });
  fs.chmodSync(image, 0o755);
  fs.chmodSync(path.join(image, 'tmp'), 0o1777);
  fs.copyFileSync(busybox, path.join(image, 'bin/busybox'));
  for (const applet of [
    'sh',
    'cat',
    'ls',
    'id',
    'echo',
    'true',
    'sleep',
    'readlink',
    'grep',
    'mount',
    'stat',
    'hostname',
    'tty',
    'stty',
    'mkdir',
    'touch',
    'ps',
    'dd',
    'mknod',
    'kill',
    'head',
    'unshare',
  ])
    fs.symlinkSync('busybox', path.join(image, 'bin', applet));
  fs.writeFileSync(path.join(image, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n');
  fs.writeFileSync(path.join(image, 'etc/group'), 'root:x:0:\nuser:x:1000:\n');
}
