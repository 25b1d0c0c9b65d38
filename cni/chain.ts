// Owns running a configuration list for a container: each plugin in its turn, with the result of the one before it.
import type { ConfList } from './conf-list.ts';
import { PLUGIN_TYPES } from './plugins/types.ts';
import type { Fields, NetworkConfig } from './spec/config.ts';
import { invalidConfig } from './spec/error.ts';
import { findExecutable, foreignPlugin } from './spec/foreign.ts';
import type { Attachment, PluginCall, PluginType } from './spec/plugin.ts';
import { atLeast, EMPTY_RESULT, type Result } from './spec/result.ts';

export interface Executables {
  readonly directories: readonly string[];
  /** Executables win over the types that this program has itself. */
  readonly preferred: boolean;
}

/** What a container's calls have in common. */
export interface ChainCall {
  readonly containerId: string;
  readonly netns: string;
  readonly ifName: string;
  readonly args: ReadonlyMap<string, string>;
  /** By capability: a plugin is told of those that its configuration names. */
  readonly capabilityArgs: Fields;
}

/** Where a type is: another program, or a part of this one. */
function locate(type: string, { directories, preferred }: Executables): string | (() => Promise<PluginType>) {
  const own = PLUGIN_TYPES.get(type);
  if (own !== undefined && !preferred) return own;
  const found = findExecutable(type, directories) ?? own;
  if (found === undefined)
    throw invalidConfig(`no plugin ${type}: it is not built in, and no executable in ${directories.join(', ') || 'no directory'}`);
  return found;
}

async function findPlugin({ type }: Fields, executables: Executables): Promise<PluginType> {
  const found = locate(String(type), executables);
  return typeof found === 'string' ? foreignPlugin(found) : found();
}

/** Names what no plugin is there for, and loads the others, before any container comes. */
export async function checkPlugins({ plugins }: ConfList, executables: Executables): Promise<void> {
  for (const plugin of plugins) await findPlugin(plugin, executables);
}

function runtimeConfigOf(plugin: Fields, capabilityArgs: Fields): Fields {
  const capabilities = (plugin.capabilities ?? {}) as Fields;
  return Object.fromEntries(Object.entries(capabilityArgs).filter(([name]) => capabilities[name] === true));
}

function configOf({ name, cniVersion }: ConfList, plugin: Fields, capabilityArgs: Fields, prevResult: Result | undefined): NetworkConfig {
  const { capabilities: _, ...fields } = plugin;
  return { cniVersion, name, type: String(plugin.type), prevResult, runtimeConfig: runtimeConfigOf(plugin, capabilityArgs), fields };
}

function callOf(list: ConfList, plugin: Fields, call: ChainCall, prevResult: Result | undefined, { directories }: Executables): PluginCall {
  const { capabilityArgs, ...rest } = call;
  return { ...rest, config: configOf(list, plugin, capabilityArgs, prevResult), path: directories };
}

/** One plugin's turn; what fails says whose it was. */
async function turn<T>(list: ConfList, plugin: Fields, verb: string, { executables, work }: Turn<T>): Promise<T> {
  try {
    return await work(await findPlugin(plugin, executables));
  } catch (cause) {
    throw new Error(`${verb} of plugin ${String(plugin.type)} in network ${list.name}`, { cause });
  }
}

interface Turn<T> {
  readonly executables: Executables;
  readonly work: (type: PluginType) => Promise<T>;
}

/** All of them, whatever fails; then throws the first failure. */
async function eachTurn(plugins: readonly Fields[], work: (plugin: Fields) => Promise<void>): Promise<void> {
  const failures: unknown[] = [];
  for (const plugin of plugins) await work(plugin).catch((error: unknown) => failures.push(error));
  if (failures.length > 0) throw failures[0];
}

export async function addChain(list: ConfList, call: ChainCall, executables: Executables): Promise<Result> {
  let result: Result | undefined;
  for (const plugin of list.plugins) {
    const own = callOf(list, plugin, call, result, executables);
    result = await turn(list, plugin, 'ADD', { executables, work: (type) => type.add(own) });
  }
  return result ?? EMPTY_RESULT;
}

/** Backwards. */
export function delChain(list: ConfList, call: ChainCall, result: Result | undefined, executables: Executables): Promise<void> {
  return eachTurn(list.plugins.toReversed(), (plugin) => {
    const own = callOf(list, plugin, call, result, executables);
    return turn(list, plugin, 'DEL', { executables, work: (type) => type.del(own) });
  });
}

/** Whether there is a CHECK that would be run. */
export const hasCheck = ({ disableCheck, cniVersion }: ConfList): boolean => !disableCheck && atLeast(cniVersion, '0.4.0');

export async function checkChain(list: ConfList, call: ChainCall, result: Result, executables: Executables): Promise<void> {
  for (const plugin of list.plugins) {
    const own = callOf(list, plugin, call, result, executables);
    await turn(list, plugin, 'CHECK', { executables, work: (type) => type.check(own) });
  }
}

export async function statusChain(list: ConfList, executables: Executables, capabilityArgs: Fields): Promise<void> {
  if (!atLeast(list.cniVersion, '1.1.0')) return;
  for (const plugin of list.plugins) {
    const own = { config: configOf(list, plugin, capabilityArgs, undefined), path: executables.directories };
    await turn(list, plugin, 'STATUS', { executables, work: async (type) => type.status?.(own) });
  }
}

export async function gcChain(list: ConfList, valid: readonly Attachment[], executables: Executables): Promise<void> {
  if (list.disableGC || !atLeast(list.cniVersion, '1.1.0')) return;
  await eachTurn(list.plugins, (plugin) => {
    const own = { config: configOf(list, plugin, {}, undefined), path: executables.directories };
    return turn(list, plugin, 'GC', { executables, work: async (type) => type.gc?.(own, valid) });
  });
}
