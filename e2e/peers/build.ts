// Builds the real programs that tskubelet is tested against, from pinned Go modules, once per machine and outside the tree.
// `node e2e/peers/build.ts [NAME…]` builds ahead of the tests and prints where each is.
import { execFile } from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { localDigest, ORIGINAL_DIGEST } from '../critest/digest-image.ts';

export type PeerName = 'crictl' | 'critest' | 'ginkgo' | 'runc';
/** missing: one sentence for the skipped test. */
export type Peer = { readonly path: string } | { readonly missing: string };

interface PeerSource {
  readonly module: string;
  readonly version: string;
  /** Arguments of go, run in the module's directory; the output file and the package follow. */
  readonly build: readonly string[];
  readonly package: string;
  /** It has parts in C. */
  readonly cgo?: true;
  /** Text of one source file that is replaced for the build. */
  readonly replace?: { readonly file: string; readonly from: string; readonly to: string };
}

// v1.36.0 is built by Go 1.26; its clients speak cri-api v0.36, a subset of our v0.37.
const CRI_TOOLS = { module: 'sigs.k8s.io/cri-tools', version: 'v1.36.0' };
const STAMP = `-ldflags=-s -w -X ${CRI_TOOLS.module}/pkg/version.Version=${CRI_TOOLS.version}`;

const DIGEST = { file: 'pkg/validate/consts.go', from: ORIGINAL_DIGEST, to: localDigest() };

const PEERS: { readonly [Name in PeerName]: PeerSource } = {
  crictl: { ...CRI_TOOLS, build: ['build', '-trimpath', STAMP], package: './cmd/crictl' },
  critest: { ...CRI_TOOLS, build: ['test', '-c', '-trimpath', STAMP], package: './cmd/critest', replace: DIGEST },
  // Runs critest in parallel; of the version in critest's go.mod.
  ginkgo: { module: 'github.com/onsi/ginkgo/v2', version: 'v2.28.1', build: ['build', '-trimpath', '-ldflags=-s -w'], package: './ginkgo' },
  // Debian 12's is older than mapped owners of mounts. Without seccomp, whose library has no headers here: Debian's is for that.
  runc: {
    module: 'github.com/opencontainers/runc',
    version: 'v1.3.3',
    build: ['build', '-mod=mod', '-trimpath', '-ldflags=-s -w'],
    package: '.',
    cgo: true,
  },
};

const BUILD_TIMEOUT_MS = 20 * 60_000;

/** The program's path, built first where it is not in the cache yet; test files that ask at the same time share one build. */
export async function ensurePeer(name: PeerName): Promise<Peer> {
  const source = PEERS[name];
  const variant = source.replace === undefined ? '' : `-${source.replace.to.slice(-8)}`;
  const directory = path.join(cacheDirectory(), `${name}-${source.version}${variant}`);
  const program = path.join(directory, name);
  if (await exists(program)) return { path: program };
  try {
    await go(['version'], os.tmpdir());
  } catch {
    return { missing: `${name} is not built: no Go toolchain in PATH (Go 1.26 or newer)` };
  }
  try {
    await fs.mkdir(directory, { recursive: true });
    await withLock(path.join(directory, 'lock'), async () => {
      if (!(await exists(program))) await build(source, program);
    });
    return { path: program };
  } catch (error) {
    return { missing: `${name} ${source.version} is not built: ${error instanceof Error ? error.message : error}` };
  }
}

export function cacheDirectory(): string {
  return path.join(process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'tskubelet', 'peers');
}

async function build({ module, version, build: args, package: pkg, cgo, replace }: PeerSource, program: string): Promise<void> {
  const unfinished = `${program}.${process.pid}`;
  const changed = `${program}.source`;
  try {
    let directory = await downloadModule(module, version);
    if (replace !== undefined) {
      await copyChanged(directory, changed, replace);
      directory = changed;
    }
    await go([...args, '-o', unfinished, pkg], directory, cgo);
    await fs.rename(unfinished, program);
  } finally {
    await fs.rm(unfinished, { force: true });
    await fs.rm(changed, { recursive: true, force: true });
  }
}

/** Go 1.26 refuses -overlay for files in its module cache. */
async function copyChanged(from: string, to: string, { file, from: old, to: text }: NonNullable<PeerSource['replace']>): Promise<void> {
  // The cache is read-only, its copy is not.
  const filter = (source: string) => path.basename(source) !== 'testdata';
  await fs.cp(from, to, { recursive: true, filter, force: true });
  const place = path.join(to, file);
  const source = await fs.readFile(place, 'utf8');
  if (!source.includes(old)) throw new Error(`${file} does not hold ${old}`);
  await fs.chmod(place, 0o644);
  await fs.writeFile(place, source.replaceAll(old, text));
}

/** The module's directory in Go's own cache, which is read-only; checksums are Go's business. */
export async function downloadModule(module: string, version: string): Promise<string> {
  const { Dir, Error: problem } = JSON.parse(await go(['mod', 'download', '-json', `${module}@${version}`], os.tmpdir())) as {
    Dir?: string;
    Error?: string;
  };
  if (!Dir) throw new Error(problem ?? `no directory for ${module}@${version}`);
  return Dir;
}

/** Runs go and returns its standard output; rejects with the last line that it complained with. */
export function go(args: readonly string[], directory: string, cgo = false): Promise<string> {
  const env = { ...process.env, GOTOOLCHAIN: 'local', GOWORK: 'off', CGO_ENABLED: cgo ? '1' : '0' };
  return new Promise((resolve, reject) => {
    execFile('go', args, { cwd: directory, env, timeout: BUILD_TIMEOUT_MS, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      // go mod download -json tells its problem on standard output and exits 1.
      if (!error || stdout.startsWith('{')) resolve(stdout);
      else reject(new Error(`go ${args[0]}: ${stderr.trim().split('\n').at(-1) || error.message}`));
    });
  });
}

/** One holder at a time across processes; a dead holder's lock is taken over. */
export async function withLock(file: string, body: () => Promise<void>): Promise<void> {
  for (const deadline = Date.now() + BUILD_TIMEOUT_MS; ; await sleep(250)) {
    try {
      await fs.writeFile(file, `${process.pid}`, { flag: 'wx' });
      break;
    } catch {
      const holder = Number(await fs.readFile(file, 'utf8').catch(() => ''));
      if (holder > 0 && !isAlive(holder)) await fs.rm(file, { force: true });
      if (Date.now() > deadline) throw new Error(`another process (${holder}) holds ${file}`);
    }
  }
  try {
    await body();
  } finally {
    await fs.rm(file, { force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function exists(file: string): Promise<boolean> {
  return fs.access(file).then(
    () => true,
    () => false,
  );
}

if (import.meta.main) {
  const wanted = process.argv.slice(2);
  const unknown = wanted.find((name) => !(name in PEERS));
  if (unknown !== undefined) {
    console.error(`no peer is called ${unknown}; there are ${Object.keys(PEERS).join(', ')}`);
    process.exit(2);
  }
  for (const name of (wanted.length > 0 ? wanted : Object.keys(PEERS)) as PeerName[]) {
    const peer = await ensurePeer(name);
    console.log('path' in peer ? peer.path : peer.missing);
    if ('missing' in peer) process.exitCode = 1;
  }
}
