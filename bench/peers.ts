// crun and runc as the contenders: OCI bundles that ask for what our own containers get, run by their command lines.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { DEFAULT_CAPABILITIES } from '../runtime/program/capabilities.ts';
import { DEFAULT_MASKED_PATHS, DEFAULT_PATH, DEFAULT_READONLY_PATHS } from '../runtime/program/defaults.ts';

export interface Peer {
  readonly name: string;
  readonly version: string;
  readonly program: string;
}

export function findPeers(): Peer[] {
  return ['crun', 'runc'].flatMap((name) => {
    const program = ['/usr/bin', '/usr/sbin', '/usr/local/bin'].map((dir) => path.join(dir, name)).find((file) => fs.existsSync(file));
    if (program === undefined) return [];
    const [line = ''] = execFileSync(program, ['--version'], { encoding: 'utf8' }).split('\n');
    return [{ name, version: line.replace(/^.* version /, ''), program }];
  });
}

export interface BundleOptions {
  readonly rootfs: string;
  readonly args: readonly string[];
  /** Namespaces of this process are joined (net, ipc, uts); absent: new ones. */
  readonly pausePid?: number;
  readonly cgroup: string;
  /** As memory.max and cpu.max; absent: no limits. */
  readonly limits?: { readonly memoryBytes: number; readonly quotaUs: number };
}

/** Writes config.json of the OCI runtime specification into `directory`. */
export function writeBundle(directory: string, { rootfs, args, pausePid, cgroup, limits }: BundleOptions): void {
  const shared = ([kind, name]: readonly [string, string]) => ({
    type: kind,
    ...(pausePid === undefined ? {} : { path: `/proc/${pausePid}/ns/${name}` }),
  });
  const tmpfs = (destination: string, options: readonly string[]) => ({ destination, type: 'tmpfs', source: 'tmpfs', options });
  const config = {
    ociVersion: '1.0.0',
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args,
      env: [`PATH=${DEFAULT_PATH}`],
      cwd: '/',
      capabilities: { bounding: DEFAULT_CAPABILITIES, effective: DEFAULT_CAPABILITIES, permitted: DEFAULT_CAPABILITIES },
      noNewPrivileges: true,
    },
    root: { path: rootfs, readonly: false },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
      tmpfs('/dev', ['nosuid', 'strictatime', 'mode=755', 'size=65536k']),
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620'],
      },
      tmpfs('/dev/shm', ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=65536k']),
      { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
      { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
    ],
    linux: {
      cgroupsPath: cgroup,
      namespaces: [
        { type: 'pid' },
        { type: 'mount' },
        { type: 'cgroup' },
        ...(
          [
            ['network', 'net'],
            ['ipc', 'ipc'],
            ['uts', 'uts'],
          ] as const
        ).map(shared),
      ],
      maskedPaths: DEFAULT_MASKED_PATHS,
      readonlyPaths: DEFAULT_READONLY_PATHS,
      ...(limits === undefined
        ? {}
        : { resources: { memory: { limit: limits.memoryBytes }, cpu: { quota: limits.quotaUs, period: 100_000 } } }),
    },
  };
  fs.writeFileSync(path.join(directory, 'config.json'), JSON.stringify(config));
}

/** Runs the peer's command to its end; throws with what it wrote when it fails. */
export async function runPeer({ name, program }: Peer, args: readonly string[]): Promise<void> {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`${name} ${args.join(' ')} ended with ${code}: ${stderr.trim()}`);
}

/** As runPeer, for a command that leaves a container running: that one inherits no pipe of ours. */
export async function runPeerDetached({ name, program }: Peer, args: readonly string[]): Promise<void> {
  const child = spawn(program, args, { stdio: 'ignore' });
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`${name} ${args.join(' ')} ended with ${code}`);
}
