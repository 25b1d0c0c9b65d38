// Builds the programs of critest's images once per machine, into the cache of peers: busybox from Debian's source package, because the
// packaged one lacks ipcs and pgrep and runs applets inside its shell; and two programs of our own.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { cacheDirectory, withLock } from '../peers/build.ts';

const exec = promisify(execFile);
const BUILD_MS = 15 * 60_000;

export interface Programs {
  readonly busybox: string;
  readonly applets: readonly string[];
  readonly nginx: string;
  readonly effectiveUid: string;
  readonly pause: string;
}

// tc does not build with the headers of newer kernels.
const BUSYBOX_SETTINGS = [
  [/^# CONFIG_STATIC is not set$/m, 'CONFIG_STATIC=y'],
  [/^CONFIG_TC=y$/m, '# CONFIG_TC is not set'],
] as const;

/** missing: one sentence for the skipped test. */
export async function ensurePrograms(): Promise<Programs | { readonly missing: string }> {
  const directory = path.join(cacheDirectory(), 'critest-images');
  fs.mkdirSync(directory, { recursive: true });
  try {
    const busybox = await ensureBuilt(directory, 'busybox', String(BUSYBOX_SETTINGS), buildBusybox);
    const [nginx = '', effectiveUid = '', pause = ''] = await Promise.all(
      ['nginx', 'effective-uid', 'pause'].map((name) => {
        const source = path.join(import.meta.dirname, 'programs', `${name}.c`);
        const compile = (program: string) => exec('gcc', ['-static', '-Os', '-s', '-o', program, source]);
        return ensureBuilt(directory, name, fs.readFileSync(source), compile);
      }),
    );
    const { stdout } = await exec(busybox, ['--list']);
    return { busybox, applets: stdout.trim().split('\n'), nginx, effectiveUid, pause };
  } catch (error) {
    const [line] = (error instanceof Error ? error.message : String(error)).trim().split('\n').slice(-1);
    return { missing: `the programs of critest's images cannot be built (needs gcc, make, bzip2 and Debian's source packages): ${line}` };
  }
}

/** The program in the cache, named after what it is made from; whole or not there. */
async function ensureBuilt(
  directory: string,
  name: string,
  source: string | Buffer,
  build: (program: string) => Promise<unknown>,
): Promise<string> {
  const program = path.join(directory, `${name}-${createHash('sha256').update(source).digest('hex').slice(0, 8)}`);
  await withLock(`${program}.lock`, async () => {
    if (fs.existsSync(program)) return;
    const unfinished = `${program}.new`;
    await build(unfinished);
    fs.renameSync(unfinished, program);
  });
  return program;
}

async function buildBusybox(program: string): Promise<void> {
  const work = fs.mkdtempSync(path.join(path.dirname(program), 'busybox-'));
  const options = { cwd: work, timeout: BUILD_MS, maxBuffer: 64 << 20 };
  try {
    await downloadSource('busybox', work);
    const archive = fs.readdirSync(work).find((name) => name.includes('.orig.tar.'));
    await exec('tar', ['-xf', archive ?? 'nothing.orig.tar', '--strip-components=1'], options);
    await exec('make', ['-s', 'defconfig'], options);
    const config = path.join(work, '.config');
    const text = BUSYBOX_SETTINGS.reduce((text, [from, to]) => text.replace(from, to), fs.readFileSync(config, 'utf8'));
    fs.writeFileSync(config, text);
    await exec('make', ['-s', '-j2', 'busybox'], options);
    fs.renameSync(path.join(work, 'busybox'), program);
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
  }
}

/** Without a change of the machine's package sources: lists of its own for the source entries beside the binary ones. */
async function downloadSource(name: string, work: string): Promise<void> {
  const sources = path.join(work, 'source.list.d');
  fs.mkdirSync(path.join(work, 'lists/partial'), { recursive: true });
  fs.mkdirSync(sources);
  const parts = '/etc/apt/sources.list.d';
  const files = fs.readdirSync(parts).map((file) => path.join(parts, file));
  for (const file of ['/etc/apt/sources.list', ...files].filter((file) => /\.(list|sources)$/.test(file) && fs.existsSync(file))) {
    const text = fs
      .readFileSync(file, 'utf8')
      .replace(/^Types:.*$/gm, 'Types: deb-src')
      .replace(/^deb /gm, 'deb-src ');
    fs.writeFileSync(path.join(sources, path.basename(file)), text);
  }
  const own = ['-o', 'Dir::Etc::sourcelist=/dev/null', '-o', `Dir::Etc::sourceparts=${sources}`, '-o', `Dir::State::lists=${work}/lists`];
  const options = { cwd: work, timeout: BUILD_MS };
  await exec('apt-get', [...own, 'update'], options);
  await exec('apt-get', [...own, 'source', '--download-only', name], options);
}
