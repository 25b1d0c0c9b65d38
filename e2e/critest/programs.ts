// Builds the programs of critest's images once per machine, into the cache of peers: busybox from Debian's source package, because the
// packaged one lacks ipcs and pgrep and runs applets inside its shell; and two programs of our own.
import { execFile } from 'node:child_process';
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

/** missing: one sentence for the skipped test. */
export async function ensurePrograms(): Promise<Programs | { readonly missing: string }> {
  const directory = path.join(cacheDirectory(), 'critest-images');
  fs.mkdirSync(directory, { recursive: true });
  const busybox = path.join(directory, 'busybox');
  try {
    await withLock(path.join(directory, 'lock'), async () => {
      if (!fs.existsSync(busybox)) await buildBusybox(directory, busybox);
    });
    const [nginx = '', effectiveUid = '', pause = ''] = await Promise.all(
      ['nginx', 'effective-uid', 'pause'].map((name) => compile(name, directory)),
    );
    const { stdout } = await exec(busybox, ['--list']);
    return { busybox, applets: stdout.trim().split('\n'), nginx, effectiveUid, pause };
  } catch (error) {
    const [line] = (error instanceof Error ? error.message : String(error)).trim().split('\n').slice(-1);
    return { missing: `the programs of critest's images cannot be built (needs gcc, make, bzip2 and Debian's source packages): ${line}` };
  }
}

async function compile(name: string, directory: string): Promise<string> {
  const program = path.join(directory, name);
  await exec('gcc', ['-static', '-Os', '-s', '-o', program, path.join(import.meta.dirname, 'programs', `${name}.c`)]);
  return program;
}

async function buildBusybox(directory: string, program: string): Promise<void> {
  const work = fs.mkdtempSync(path.join(directory, 'busybox-'));
  const options = { cwd: work, timeout: BUILD_MS, maxBuffer: 64 << 20 };
  try {
    await downloadSource('busybox', work);
    const archive = fs.readdirSync(work).find((name) => name.includes('.orig.tar.'));
    await exec('tar', ['-xf', archive ?? 'nothing.orig.tar', '--strip-components=1'], options);
    await exec('make', ['-s', 'defconfig'], options);
    const config = path.join(work, '.config');
    // tc does not build with the headers of newer kernels.
    const text = fs
      .readFileSync(config, 'utf8')
      .replace('# CONFIG_STATIC is not set', 'CONFIG_STATIC=y')
      .replace(/^CONFIG_TC=y/m, '# CONFIG_TC is not set');
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
