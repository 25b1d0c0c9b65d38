// Owns network configuration lists: which file of a directory counts, and what it says.
import fs from 'node:fs/promises';
import path from 'node:path';
import { hasCode } from '../runtime/linux/errno.ts';
import { checkNetworkName, checkVersion, type Fields, listField, objectOf } from './spec/config.ts';
import { CniError, INCOMPATIBLE_VERSION, invalidConfig } from './spec/error.ts';
import { isVersion, VERSIONS, type Version } from './spec/result.ts';

export interface ConfList {
  readonly name: string;
  readonly cniVersion: Version;
  readonly disableCheck: boolean;
  readonly disableGC: boolean;
  readonly plugins: readonly Fields[];
}

const EXTENSIONS = ['.conflist', '.conf', '.json'];

/** The field's other programs write booleans as text here. */
const isOn = (value: unknown): boolean => value === true || value === 'true' || value === 'True';

/** The newest version of those that are offered. */
function chooseVersion({ cniVersion, cniVersions }: Fields): Version {
  if (!Array.isArray(cniVersions)) return checkVersion(cniVersion);
  const offered = [...cniVersions, cniVersion].filter((one): one is Version => typeof one === 'string' && isVersion(one));
  const newest = VERSIONS.findLast((version) => offered.includes(version));
  if (newest === undefined)
    throw new CniError(
      INCOMPATIBLE_VERSION,
      `none of the CNI versions ${cniVersions.join(', ')} is supported: known are ${VERSIONS.join(', ')}`,
    );
  return newest;
}

/** A list, or the configuration of a single plugin, which is a list of one. */
export function parseConfList(text: string): ConfList {
  const fields = objectOf(JSON.parse(text), 'a network configuration');
  const single = fields.plugins === undefined;
  const plugins = single ? [fields] : listField(fields, 'plugins').map((plugin) => objectOf(plugin, 'a plugin'));
  if (plugins.length === 0) throw invalidConfig('plugins: the list is empty');
  for (const { type } of plugins) if (typeof type !== 'string' || type === '') throw invalidConfig('a plugin has no type');
  return {
    name: checkNetworkName(fields.name),
    cniVersion: chooseVersion(fields),
    disableCheck: isOn(fields.disableCheck),
    disableGC: isOn(fields.disableGC),
    plugins,
  };
}

/** As libcni has it: files with one of the endings, in the order of their names, and the first one counts. */
export function firstConfFile(names: readonly string[]): string | undefined {
  return names.filter((name) => EXTENSIONS.includes(path.extname(name))).sort()[0];
}

export interface LoadedConf {
  readonly file: string;
  /** Changes whenever the file does. */
  readonly stamp: string;
  readonly list: ConfList;
}

/** undefined: there is none, which is no error. */
export async function loadConf(directory: string): Promise<LoadedConf | undefined> {
  let names: string[];
  try {
    names = await fs.readdir(directory);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw new Error(`read the network configurations of ${directory}`, { cause: error });
  }
  const name = firstConfFile(names);
  if (name === undefined) return undefined;
  const file = path.join(directory, name);
  try {
    const text = await fs.readFile(file, 'utf8');
    return { file, stamp: `${file} ${text}`, list: parseConfList(text) };
  } catch (error) {
    throw new Error(`network configuration ${file}: ${(error as Error).message}`, { cause: error });
  }
}
