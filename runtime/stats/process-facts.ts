// Owns looking into /proc for what cgroups do not count: descriptors, sockets, limits of a container's processes.
import fs from 'node:fs';
import type { ProcessFacts } from './metric-families.ts';

/** Every descriptor costs a readlink(2): beyond this many the sockets among them are not counted. */
const MAX_DESCRIPTORS = 4096;

/** `pids`: all of the container's; `initPid`: whose limits are told. What ends meanwhile is not counted. */
export async function readProcessFacts(pids: readonly number[], initPid: number): Promise<ProcessFacts> {
  const [perProcess, limits] = await Promise.all([
    Promise.all(pids.map(descriptorsOf)),
    fs.promises.readFile(`/proc/${initPid}/limits`, 'utf8').catch(() => ''),
  ]);
  const descriptors = perProcess.flat();
  const targets =
    descriptors.length > MAX_DESCRIPTORS
      ? undefined
      : await Promise.all(descriptors.map((file) => fs.promises.readlink(file).catch(() => '')));
  const maxOpenFiles = parseMaxOpenFiles(limits);
  return {
    processes: BigInt(pids.length),
    fileDescriptors: BigInt(descriptors.length),
    ...(targets === undefined ? {} : { sockets: BigInt(targets.filter((target) => target.startsWith('socket:')).length) }),
    ...(maxOpenFiles === undefined ? {} : { maxOpenFiles }),
  };
}

async function descriptorsOf(pid: number): Promise<string[]> {
  const names = await fs.promises.readdir(`/proc/${pid}/fd`).catch(() => []);
  return names.map((name) => `/proc/${pid}/fd/${name}`);
}

/** "Max open files            1024                 524288               files" */
export function parseMaxOpenFiles(limits: string): bigint | undefined {
  const soft = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
  return soft === undefined ? undefined : BigInt(soft);
}
