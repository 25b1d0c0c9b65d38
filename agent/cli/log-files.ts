// Owns `logs` without an agent: which file below log-dir is the wanted one, by the layout that kubelets share:
// <namespace>_<name>_<uid>/<container>/<restart>.log
import fs from 'node:fs';
import path from 'node:path';
import { CommandError } from '../error.ts';
import { readContainerLog } from '../log/reader.ts';
import { noDaemon } from './agent-client.ts';
import type { LogWish } from './logs.ts';
import type { PodName } from './pod-name.ts';
import type { Settings } from './settings.ts';

function namesIn(directory: string): string[] {
  try {
    return fs.readdirSync(directory).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

const modifiedMs = (file: string) => fs.statSync(file).mtimeMs;

/** The newest pod of the name: an earlier one's files may still be there. */
function findPodDirectory(settings: Settings, { namespace, name }: PodName): string {
  const found = namesIn(settings.logDir)
    .filter((entry) => entry.startsWith(`${namespace}_${name}_`))
    .map((entry) => path.join(settings.logDir, entry))
    .sort((a, b) => modifiedMs(b) - modifiedMs(a));
  if (found[0] === undefined)
    throw new CommandError(`${noDaemon(settings).message}; nor is there a log of pod "${namespace}/${name}" in ${settings.logDir}`);
  return found[0];
}

function chooseContainer(directory: string, { name, container }: PodName): string {
  const names = namesIn(directory);
  if (container !== undefined && names.includes(container)) return container;
  if (container === undefined && names.length === 1) return names[0]!;
  const which =
    container === undefined ? `pod ${name} has several containers: name one with -c` : `no log of container "${container}" in pod ${name}`;
  throw new CommandError(`${which} (${names.join(', ')})`);
}

/** The number of the run whose log is wanted, from the files of a container; rotated files have more behind `.log`. */
export function chooseRun(files: readonly string[], previous: boolean): number | undefined {
  const runs = files.flatMap((file) => /^(\d+)\.log$/.exec(file)?.[1] ?? []).map(Number);
  return runs.sort((a, b) => b - a)[previous ? 1 : 0];
}

export function readLogFiles(settings: Settings, target: PodName, { previous, ...options }: LogWish): AsyncIterable<Buffer> {
  const directory = findPodDirectory(settings, target);
  const container = chooseContainer(directory, target);
  const run = chooseRun(namesIn(path.join(directory, container)), previous);
  if (run === undefined) throw new CommandError(`container "${container}" has no ${previous ? 'earlier run' : 'log'}`);
  return readContainerLog(path.join(directory, container, `${run}.log`), { ...options, follow: options.follow && !previous });
}
