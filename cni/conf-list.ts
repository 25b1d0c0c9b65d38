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
function isOn(fields: Fields, name: string): boolean {
  const value = fields[name];
  const text = typeof value === 'string' ? value.toLowerCase() : (value ?? false);
  if (text !== true && text !== false && text !== 'true' && text !== 'false')
    throw invalidConfig(`${name} ${JSON.stringify(value)}: expected true or false`);
  return String(text) === 'true';
}

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

const isSingle = ({ plugins, type }: Fields): boolean => plugins === undefined && type !== undefined;

/** A list, or the configuration of a single plugin, which is a list of one; with plugins of other files behind its own. */
export function parseConfList(value: unknown, more: readonly Fields[] = []): ConfList {
  const fields = objectOf(value, 'a network configuration');
  const own = isSingle(fields) ? [fields] : listField(fields, 'plugins').map((plugin) => objectOf(plugin, 'a plugin'));
  const plugins = [...own, ...more];
  if (plugins.length === 0) throw invalidConfig('plugins: the list is empty');
  for (const { type } of plugins) if (typeof type !== 'string' || type === '') throw invalidConfig('a plugin has no type');
  return {
    name: checkNetworkName(fields.name),
    cniVersion: chooseVersion(fields),
    disableCheck: isOn(fields, 'disableCheck'),
    disableGC: isOn(fields, 'disableGC'),
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

/** How often files may go while they are read: an installer replaces one by another of another name. */
const ATTEMPTS = 3;

async function namesOf(directory: string): Promise<string[]> {
  try {
    return (await fs.readdir(directory, { withFileTypes: true })).filter((entry) => !entry.isDirectory()).map(({ name }) => name);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return [];
    throw new Error(`read the network configurations of ${directory}`, { cause: error });
  }
}

/** Names the file that the work is about. */
async function reading<T>(file: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const isGone = hasCode(cause, 'ENOENT');
    throw Object.assign(new Error(`network configuration ${file}: ${(cause as Error).message}`, { cause }), { isGone });
  }
}

interface Read {
  readonly file: string;
  readonly text: string;
  readonly fields: Fields;
}

const readFields = (file: string): Promise<Read> =>
  reading(file, async () => {
    const text = await fs.readFile(file, 'utf8');
    return { file, text, fields: objectOf(JSON.parse(text), 'a network configuration') };
  });

/** Plugins of their own files, in a directory that has the network's name (libcni 1.3). */
async function readMore(directory: string): Promise<Read[]> {
  const names = (await namesOf(directory)).filter((name) => name.endsWith('.conf')).sort();
  return Promise.all(names.map((name) => readFields(path.join(directory, name))));
}

async function loadFirst(directory: string): Promise<LoadedConf | undefined> {
  const name = firstConfFile(await namesOf(directory));
  if (name === undefined) return undefined;
  const first = await readFields(path.join(directory, name));
  return reading(first.file, async () => {
    const { fields } = first;
    const isWhole = isSingle(fields) || isOn(fields, 'loadOnlyInlinedPlugins');
    const more = isWhole ? [] : await readMore(path.join(directory, checkNetworkName(fields.name)));
    const list = parseConfList(
      fields,
      more.map((one) => one.fields),
    );
    return { file: first.file, stamp: [first, ...more].map(({ file, text }) => `${file} ${text}`).join('\n'), list };
  });
}

/** undefined: there is none, which is no error. */
export async function loadConf(directory: string): Promise<LoadedConf | undefined> {
  for (let attempt = 1; ; attempt++)
    try {
      return await loadFirst(directory);
    } catch (error) {
      if (attempt === ATTEMPTS || !(error as { isGone?: boolean }).isGone) throw error;
    }
}
