// Owns finding the shared libraries of binaries as ld.so(8) would: rpath, runpath, the cache, the default directories. Nothing is run.
import fs from 'node:fs';
import path from 'node:path';
import { type ElfNeeds, hostMachine, readElfNeeds } from './elf.ts';
import { parseLdCache } from './ld-cache.ts';

const triplet = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
export const defaultDirectories: readonly string[] = [`/lib/${triplet}`, `/usr/lib/${triplet}`, '/lib64', '/usr/lib64', '/lib', '/usr/lib'];
// glibc before 2.34 loads these by name at run time: users, groups and host names come through them.
const loadedByName = ['libnss_files.so.2', 'libnss_dns.so.2', 'libresolv.so.2'];

export interface Binary {
  /** Path on the host. */
  readonly file: string;
  /** The interpreter of a script ("#!"), or the dynamic loader, as written in the file. */
  readonly interpreter: string | undefined;
  readonly script: boolean;
}

export interface Closure {
  readonly binaries: readonly Binary[];
  /** Name that is looked for, and the host file found for it. */
  readonly libraries: ReadonlyMap<string, string>;
  /** Dynamic loaders, by the path at which the kernel looks for them. */
  readonly loaders: ReadonlySet<string>;
}

/** "#!/usr/bin/env node" names /usr/bin/env and node. */
function readShebang(file: string): string[] | undefined {
  const head = Buffer.alloc(256);
  const fd = fs.openSync(file, 'r');
  const length = fs.readSync(fd, head, 0, head.length, 0);
  fs.closeSync(fd);
  const line = head.toString('utf8', 0, length).split('\n')[0] ?? '';
  return line.startsWith('#!') ? line.slice(2).trim().split(/\s+/) : undefined;
}

function readCache(): ReadonlyMap<string, string> {
  try {
    return parseLdCache(fs.readFileSync('/etc/ld.so.cache'));
  } catch {
    return new Map();
  }
}

function isLibrary(file: string): boolean {
  if (!(fs.statSync(file, { throwIfNoEntry: false })?.isFile() ?? false)) return false;
  return readElfNeeds(file)?.machine === hostMachine;
}

/** The host's file of a command, looked up in `searchPath`. */
export function findCommand(name: string, searchPath = process.env.PATH ?? ''): string | undefined {
  const directories = [...searchPath.split(':'), '/usr/local/bin', '/usr/bin', '/bin', '/usr/sbin', '/sbin'].filter((dir) =>
    dir.startsWith('/'),
  );
  return directories.map((dir) => path.join(dir, name)).find((file) => fs.statSync(file, { throwIfNoEntry: false })?.isFile() ?? false);
}

/** Everything that the binaries need to start. Throws a sentence naming the binary and the library that is missing. */
export function findSharedLibraries(files: readonly string[]): Closure {
  const binaries = new Map<string, Binary>();
  const libraries = new Map<string, string>();
  const loaders = new Set<string>();
  const cache = readCache();

  function search(name: string, needs: ElfNeeds, origin: string): string | undefined {
    if (name.includes('/')) return isLibrary(name) ? name : undefined;
    const expand = (dir: string) => dir.replace(/\$\{?ORIGIN\}?/g, path.dirname(origin)).replace(/\$\{?LIB\}?/g, `lib/${triplet}`);
    // DT_RPATH is ignored where DT_RUNPATH exists.
    const own = (needs.runpath.length > 0 ? needs.runpath : needs.rpath).map(expand);
    const candidates = [
      ...own.map((dir) => path.join(dir, name)),
      cache.get(name),
      ...defaultDirectories.map((dir) => path.join(dir, name)),
    ];
    return candidates.find((file): file is string => file !== undefined && isLibrary(file));
  }

  function addLibraries(file: string, needs: ElfNeeds): void {
    for (const name of needs.needed) {
      if (libraries.has(name) || [...loaders].some((loader) => path.basename(loader) === name)) continue;
      const found = search(name, needs, fs.realpathSync(file));
      if (found === undefined) throw new Error(`${file} needs the library ${name}, which is not on this host`);
      libraries.set(name, found);
      addLibraries(found, readElfNeeds(found) ?? needs);
    }
  }

  function addBinary(file: string): void {
    if (binaries.has(file)) return;
    if (!path.isAbsolute(file)) throw new Error(`${file} is not an absolute path`);
    if (!(fs.statSync(file, { throwIfNoEntry: false })?.isFile() ?? false)) throw new Error(`${file} is not a file on this host`);
    const needs = readElfNeeds(file);
    if (needs === undefined) {
      const [interpreter, argument] = readShebang(file) ?? [];
      if (interpreter === undefined) throw new Error(`${file} is neither a 64-bit ELF program nor a script`);
      binaries.set(file, { file, interpreter, script: true });
      addBinary(interpreter);
      const command = path.basename(interpreter) === 'env' && argument !== undefined ? findCommand(argument) : undefined;
      if (command !== undefined) addBinary(command);
      return;
    }
    if (needs.machine !== hostMachine) throw new Error(`${file} is a program for another architecture`);
    binaries.set(file, { file, interpreter: needs.interpreter, script: false });
    if (needs.interpreter !== undefined) loaders.add(needs.interpreter);
    addLibraries(file, needs);
  }

  for (const file of files) addBinary(file);
  if (libraries.has('libc.so.6')) {
    for (const name of loadedByName) {
      const found = search(name, { machine: hostMachine, interpreter: undefined, needed: [], rpath: [], runpath: [] }, '/');
      if (found !== undefined && !libraries.has(name)) libraries.set(name, found);
    }
  }
  return { binaries: [...binaries.values()], libraries, loaders };
}
