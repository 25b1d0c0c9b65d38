// Owns a node of its own for a test: directories on a tmpfs, a network namespace, a cgroup root, and a tskubelet in them.
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { type CriClient, connectCri } from '../../cri-proto/client.ts';
import { type CommandOptions, check, type Outcome, run } from './command.ts';
import { poll } from './poll.ts';

const repository = path.resolve(import.meta.dirname, '../..');
const launcher = path.join(repository, 'bin/tskubelet');

export interface TestNodeOptions {
  /** Further flags for every start. */
  readonly flags?: readonly string[];
  /** The daemon sees no cgroup2 hierarchy beside those of v1: crun refuses such hybrid hosts. */
  readonly legacyCgroups?: boolean;
}

/** Guests take their time to load and compile what Node runs, most of all on an emulated processor. */
const START_MS = { uml: 120_000, tcg: 180_000 }[process.env.TSK_GUEST ?? ''] ?? 30_000;

/** So much of a daemon's log is shown when a test of the file has failed. */
const LOG_END = 20_000;

const nodes: TestNode[] = [];
process.once('exit', (code) => {
  if (code !== 0) for (const { id, log } of nodes) if (log !== '') console.error(`log of node ${id}:\n${log.slice(-LOG_END)}`);
});

const CRASHES: readonly NodeJS.Signals[] = ['SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGTRAP', 'SIGABRT'];

export interface StartOptions {
  readonly flags?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
}

export class TestNode {
  readonly id = randomBytes(4).toString('hex');
  readonly dir: string;
  readonly netns: string;
  readonly cgroupRoot: string;
  readonly pods: string;
  readonly #flags: readonly string[];
  readonly #legacyCgroups: boolean;
  daemon: ChildProcess | undefined;
  /** Everything that the daemons of this node wrote to standard error. */
  log = '';
  #client: CriClient | undefined;

  private constructor({ flags = [], legacyCgroups = false }: TestNodeOptions) {
    // A tmpfs, as run-dir must be; images and volumes of tests are small.
    this.dir = path.join('/dev/shm', `tsk-e2e-${this.id}`);
    this.netns = `tsk-e2e-${this.id}`;
    this.cgroupRoot = `/tsk-e2e-${this.id}`;
    this.pods = path.join(this.dir, 'pods');
    this.#flags = flags;
    this.#legacyCgroups = legacyCgroups;
  }

  static async create(options: TestNodeOptions = {}): Promise<TestNode> {
    const node = new TestNode(options);
    nodes.push(node);
    fs.mkdirSync(node.pods, { recursive: true });
    await check('ip', ['netns', 'add', node.netns]);
    await check('ip', ['-n', node.netns, 'link', 'set', 'lo', 'up']);
    return node;
  }

  get runDir(): string {
    return path.join(this.dir, 'run');
  }

  get rootDir(): string {
    return path.join(this.dir, 'root');
  }

  get logDir(): string {
    return path.join(this.dir, 'log');
  }

  get socket(): string {
    return path.join(this.runDir, 'cri.sock');
  }

  get flags(): readonly string[] {
    return ['--root-dir', this.rootDir, '--run-dir', this.runDir, '--log-dir', this.logDir];
  }

  /** A command line in this node's network namespace; only the network one, so that cgroups stay in sight. */
  inside(args: readonly string[]): [string, string[]] {
    const enter = [`--net=/run/netns/${this.netns}`];
    if (!this.#legacyCgroups) return ['nsenter', [...enter, ...args]];
    const hide = 'mount -t tmpfs none /sys/fs/cgroup/unified && exec "$@"';
    return ['nsenter', [...enter, 'unshare', '--mount', 'sh', '-c', hide, 'sh', ...args]];
  }

  /** Starts the daemon: the runtime alone, or with the agent on this node's pods folder. */
  async start(kind: 'runtime' | 'node', { flags = [], env = {} }: StartOptions = {}): Promise<void> {
    const what = kind === 'runtime' ? ['runtime'] : ['--manifests', this.pods, '--read-only-port', '0', '--node-name', 'node'];
    const [command, args] = this.inside([launcher, ...what, ...this.flags, '--cgroup-root', this.cgroupRoot, ...this.#flags, ...flags]);
    const daemon = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...env } });
    this.daemon = daemon;
    daemon.stderr.on('data', (chunk: Buffer) => {
      this.log += chunk.toString();
    });
    // Nobody sends these: Node itself has crashed. Said at once, since the test only sees that nobody answers.
    daemon.once('exit', (_code, signal) => {
      if (signal !== null && CRASHES.includes(signal)) console.error(`tskubelet ended by signal: '${signal}'`);
    });
    this.#client?.close();
    this.#client = undefined;
    await poll(
      `the ${kind} to answer`,
      async () => {
        const end = daemon.exitCode ?? daemon.signalCode;
        if (end !== null) throw new Error(`tskubelet ended with ${end}: ${this.log}`);
        const client = connectCri(this.socket);
        try {
          await client.runtime.version({}, { timeoutMs: 1000 });
          this.#client = client;
          return true;
        } catch (error) {
          client.close();
          throw error;
        }
      },
      START_MS,
    );
    if (kind === 'node') await poll('the agent to answer', () => fs.existsSync(path.join(this.runDir, 'agent.sock')));
  }

  get cri(): CriClient {
    if (this.#client === undefined) throw new Error('the test node is not started');
    return this.#client;
  }

  /** Resolves when the daemon has ended, by itself or by kill -9. */
  async ended(timeoutMs = 20_000): Promise<void> {
    const { daemon } = this;
    await poll('the daemon to end', () => daemon === undefined || daemon.exitCode !== null || daemon.signalCode !== null, timeoutMs);
  }

  /** Ends the daemon; resolves to its exit code (128 + n for a signal). */
  async stop(signal: NodeJS.Signals = 'SIGTERM', timeoutMs = 30_000): Promise<number> {
    const { daemon } = this;
    if (daemon === undefined || daemon.exitCode !== null || daemon.signalCode !== null) return daemon?.exitCode ?? 0;
    const ended = new Promise<number>((resolve) => {
      daemon.once('exit', (code, killer) => resolve(code ?? (killer === 'SIGKILL' ? 137 : 143)));
    });
    daemon.kill(signal);
    const timer = setTimeout(() => daemon.kill('SIGKILL'), timeoutMs);
    const code = await ended;
    clearTimeout(timer);
    return code;
  }

  /** A tskubelet command for this node. */
  tskubelet(args: readonly string[], options?: CommandOptions): Promise<Outcome> {
    const [command, all] = this.inside([launcher, ...this.flags, ...args]);
    return run(command, all, options);
  }

  /** A program in this node's network namespace. */
  inNetwork(args: readonly string[], options?: CommandOptions): Promise<Outcome> {
    const [command, all] = this.inside(args);
    return run(command, all, options);
  }

  /** Writes a manifest into the pods folder, whole at once. */
  addManifest(name: string, text: string): void {
    const temporary = path.join(this.dir, `.${name}`);
    fs.writeFileSync(temporary, text);
    fs.renameSync(temporary, path.join(this.pods, name));
  }

  removeManifest(name: string): void {
    fs.rmSync(path.join(this.pods, name), { force: true });
  }

  /** Ends everything of this node, also after a failed test: daemon, containers, mounts, cgroups, namespace, directories. */
  async destroy(): Promise<void> {
    await this.stop('SIGKILL');
    this.#client?.close();
    for (const pid of [...this.processes(), ...this.#keepers()]) killQuietly(pid);
    await poll('the processes of the node to end', () => this.processes().length === 0, 10_000).catch(() => undefined);
    for (const mountpoint of this.mounts().reverse()) await run('umount', ['-l', mountpoint]);
    await poll('the cgroups of the node to go', () => this.removeCgroups(), 10_000).catch(() => undefined);
    await run('ip', ['netns', 'del', this.netns]);
    fs.rmSync(this.dir, { recursive: true, force: true });
  }

  /** Host mounts below the node's directory. */
  mounts(): string[] {
    return fs
      .readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[4] ?? '')
      .filter((target) => target.startsWith(`${this.dir}/`));
  }

  /** Every process in the node's cgroups: containers, pause processes, shims. */
  processes(): number[] {
    return this.cgroups().flatMap((directory) => {
      try {
        return fs.readFileSync(path.join(directory, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number);
      } catch {
        return [];
      }
    });
  }

  /** Keepers of this node's staging pipe: where the daemon could not put them into the node's cgroup, nothing else ends them. */
  #keepers(): number[] {
    const isOurs = (pid: string): boolean => {
      try {
        if (fs.readFileSync(`/proc/${pid}/comm`, 'utf8') !== 'tskubelet-keep\n') return false;
        return fs.readdirSync(`/proc/${pid}/fd`).some((fd) => fs.readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith(`${this.dir}/`));
      } catch {
        return false;
      }
    };
    return fs
      .readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && isOurs(name))
      .map(Number);
  }

  /** Directories of the node's cgroups in every hierarchy, deepest first. */
  cgroups(): string[] {
    const hierarchies = fs
      .readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => / - cgroup2? /.test(line))
      .map((line) => line.split(' ')[4] ?? '');
    return hierarchies.flatMap((hierarchy) => walk(path.join(hierarchy, this.cgroupRoot)));
  }

  private removeCgroups(): boolean {
    for (const directory of this.cgroups())
      try {
        fs.rmdirSync(directory);
      } catch {
        // Busy until the last of its processes is reaped.
      }
    return this.cgroups().length === 0;
  }
}

function walk(directory: string): string[] {
  let children: fs.Dirent[];
  try {
    children = fs.readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  } catch {
    // Gone, perhaps since its parent was read: the daemon removes cgroups at any time.
    return [];
  }
  return [...children.flatMap(({ name }) => walk(path.join(directory, name))), directory];
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended by itself.
  }
}
