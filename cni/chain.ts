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

function findPlugin(type: string, { directories, preferred }: Executables): PluginType {
  const own = PLUGIN_TYPES.get(type);
  if (own !== undefined && !preferred) return own;
  const file = findExecutable(type, directories);
  if (file !== undefined) return foreignPlugin(file);
  if (own !== undefined) return own;
  throw invalidConfig(`no plugin ${type}: it is not built in, and no executable in ${directories.join(', ') || 'no directory'}`);
}

/** Names what no plugin is there for, before any container comes. */
export function checkPlugins({ plugins }: ConfList, executables: Executables): void {
  for (const { type } of plugins) findPlugin(String(type), executables);
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

const named =
  (list: ConfList, plugin: Fields, verb: string) =>
  (cause: unknown): never => {
    throw new Error(`${verb} of plugin ${String(plugin.type)} in network ${list.name}`, { cause });
  };

export async function addChain(list: ConfList, call: ChainCall, executables: Executables): Promise<Result> {
  let result: Result | undefined;
  for (const plugin of list.plugins)
    result = await findPlugin(String(plugin.type), executables)
      .add(callOf(list, plugin, call, result, executables))
      .catch(named(list, plugin, 'ADD'));
  return result ?? EMPTY_RESULT;
}

/** Backwards, all of them whatever fails; then throws the first failure. */
export async function delChain(list: ConfList, call: ChainCall, result: Result | undefined, executables: Executables): Promise<void> {
  const failures: unknown[] = [];
  for (const plugin of list.plugins.toReversed())
    try {
      await findPlugin(String(plugin.type), executables)
        .del(callOf(list, plugin, call, result, executables))
        .catch(named(list, plugin, 'DEL'));
    } catch (error) {
      failures.push(error);
    }
  if (failures.length > 0) throw failures[0];
}

/** Whether there is a CHECK that would be run. */
export const hasCheck = ({ disableCheck, cniVersion }: ConfList): boolean => !disableCheck && atLeast(cniVersion, '0.4.0');

export async function checkChain(list: ConfList, call: ChainCall, result: Result, executables: Executables): Promise<void> {
  for (const plugin of list.plugins)
    await findPlugin(String(plugin.type), executables)
      .check(callOf(list, plugin, call, result, executables))
      .catch(named(list, plugin, 'CHECK'));
}

export async function statusChain(list: ConfList, executables: Executables, capabilityArgs: Fields): Promise<void> {
  if (!atLeast(list.cniVersion, '1.1.0')) return;
  for (const plugin of list.plugins)
    await findPlugin(String(plugin.type), executables)
      .status?.({ config: configOf(list, plugin, capabilityArgs, undefined), path: executables.directories })
      .catch(named(list, plugin, 'STATUS'));
}

/** All plugins, whatever fails; then throws the first failure. */
export async function gcChain(list: ConfList, valid: readonly Attachment[], executables: Executables): Promise<void> {
  if (list.disableGC || !atLeast(list.cniVersion, '1.1.0')) return;
  const failures: unknown[] = [];
  for (const plugin of list.plugins)
    try {
      await findPlugin(String(plugin.type), executables)
        .gc?.({ config: configOf(list, plugin, {}, undefined), path: executables.directories }, valid)
        .catch(named(list, plugin, 'GC'));
    } catch (error) {
      failures.push(error);
    }
  if (failures.length > 0) throw failures[0];
}
