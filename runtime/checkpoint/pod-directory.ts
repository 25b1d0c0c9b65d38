// Owns the directory that CheckpointPod fills: which files it has, and what of a request to restore it fits.
//
//   pod.dump      which containers there are; written last: a directory without it is no checkpoint
//   shm.tar       what the containers shared in /dev/shm
//   <name>.tar    the checkpoint of each container, as CheckpointContainer writes it
import fs from 'node:fs';
import path from 'node:path';
import type { ContainerConfig } from '../../cri-proto/gen/api.ts';
import { failedPrecondition, invalidArgument, notFound } from '../errors.ts';
import { hasCode } from '../linux/errno.ts';

const POD = 'pod.dump';
const VERSION = 1;

export const SHM = 'shm.tar';

export function archiveOf(directory: string, name: string): string {
  return path.join(directory, `${name}.tar`);
}

/** The caller's directory: absolute, there, and empty. */
export async function checkOutput(directory: string): Promise<void> {
  if (!path.isAbsolute(directory)) throw invalidArgument(`output_path "${directory}" is not an absolute path`);
  const names = await fs.promises.readdir(directory).catch((error: unknown) => {
    throw hasCode(error, 'ENOENT', 'ENOTDIR') ? invalidArgument(`output_path ${directory} is not a directory`) : error;
  });
  if (names.length > 0) throw invalidArgument(`output_path ${directory} is not empty: "${names[0]}" is in it`);
}

/** Leaves the directory as it was given. */
export async function clearOutput(directory: string): Promise<void> {
  for (const name of await fs.promises.readdir(directory)) await fs.promises.rm(path.join(directory, name), { force: true });
}

export async function writePod(directory: string, containers: readonly string[]): Promise<void> {
  const partial = path.join(directory, `${POD}.partial`);
  await fs.promises.writeFile(partial, JSON.stringify({ version: VERSION, containers }, null, 2), { mode: 0o600 });
  await fs.promises.rename(partial, path.join(directory, POD));
}

/** The names of the containers in a checkpoint. */
export async function readPod(directory: string): Promise<readonly string[]> {
  if (!path.isAbsolute(directory)) throw invalidArgument(`checkpoint_path "${directory}" is not an absolute path`);
  const text = await fs.promises.readFile(path.join(directory, POD), 'utf8').catch((error: unknown) => {
    throw hasCode(error, 'ENOENT', 'ENOTDIR') ? notFound(`there is no checkpoint of a pod at ${directory}: it has no ${POD}`) : error;
  });
  const { version, containers } = JSON.parse(text) as { version: number; containers: readonly string[] };
  if (version !== VERSION)
    throw failedPrecondition(`the checkpoint at ${directory} is of version ${version}, and this one knows ${VERSION}`);
  return containers;
}

/** Each container of the checkpoint with its config: by metadata.name, exactly one for each. */
export function matchConfigs(
  names: readonly string[],
  configs: readonly ContainerConfig[],
): readonly (readonly [string, ContainerConfig])[] {
  const stranger = configs.find(({ metadata }) => !names.includes(metadata?.name ?? ''));
  if (stranger !== undefined)
    throw invalidArgument(`the checkpoint has no container "${stranger.metadata?.name ?? ''}": it has ${names.join(', ')}`);
  return names.map((name) => {
    const [config, second] = configs.filter(({ metadata }) => metadata?.name === name);
    if (config === undefined) throw invalidArgument(`container_configs has none for container "${name}" of the checkpoint`);
    if (second !== undefined) throw invalidArgument(`container_configs has several for container "${name}"`);
    return [name, config] as const;
  });
}

/** Neither call has options of ours. */
export function refuseOptions(options: Readonly<Record<string, string>>): void {
  const [option] = Object.keys(options);
  if (option !== undefined) throw invalidArgument(`there is no option "${option}": checkpoints of pods have none here`);
}
