// Owns what is known of a layer directory while it is filled: which paths are directories and which are links. No path that the archive
// names is ever given to the kernel: only paths whose every parent is a directory of this tree, so no link can lead out of it.

const LINK_LIMIT = 40;
const PATH_LIMIT_BYTES = 3500;

/** Splits a path of an archive into clean components; absolute paths start at the layer's root. Throws when it climbs above it. */
export function cleanPath(name: string): string[] {
  if (name.includes('\0')) throw new Error(`the path ${JSON.stringify(name)} contains a NUL byte`);
  if (name.length > PATH_LIMIT_BYTES)
    throw new Error(`the path ${JSON.stringify(name.slice(0, 64))}… is longer than ${PATH_LIMIT_BYTES} bytes`);
  const clean: string[] = [];
  for (const component of name.split('/')) {
    if (component === '' || component === '.') continue;
    if (component !== '..') clean.push(component);
    else if (clean.pop() === undefined) throw new Error(`the path ${JSON.stringify(name)} leads out of the layer`);
  }
  return clean;
}

export function joinPath(parent: string, name: string): string {
  return parent === '' ? name : `${parent}/${name}`;
}

export interface LayerTree {
  readonly directories: Set<string>;
  /** Path of a symbolic link to its target. */
  readonly links: Map<string, string>;
}

export function createLayerTree(): LayerTree {
  return { directories: new Set(['']), links: new Map() };
}

/**
 * The real directory that `components` name, links followed as inside a chroot. `missing` is asked to make a directory that is not
 * there, or to refuse by throwing.
 */
export function resolveDirectory(tree: LayerTree, components: readonly string[], missing: (path: string) => void): string {
  const rest = [...components];
  let current = '';
  let followed = 0;
  for (let component = rest.shift(); component !== undefined; component = rest.shift()) {
    if (component === '' || component === '.') continue;
    if (component === '..') {
      current = current.slice(0, Math.max(0, current.lastIndexOf('/')));
      continue;
    }
    const next = joinPath(current, component);
    const target = tree.links.get(next);
    if (target !== undefined) {
      if (++followed > LINK_LIMIT)
        throw new Error(`${JSON.stringify(components.join('/'))} leads through more than ${LINK_LIMIT} symbolic links`);
      if (target.startsWith('/')) current = '';
      rest.unshift(...target.split('/'));
      continue;
    }
    if (next.length > PATH_LIMIT_BYTES)
      throw new Error(`a path below ${JSON.stringify(next.slice(0, 64))}… is longer than ${PATH_LIMIT_BYTES} bytes`);
    if (!tree.directories.has(next)) {
      missing(next);
      tree.directories.add(next);
    }
    current = next;
  }
  return current;
}

/** The same without making anything: undefined when a directory on the way is not there. */
export function findDirectory(tree: LayerTree, components: readonly string[]): string | undefined {
  try {
    return resolveDirectory(tree, components, (path) => {
      throw new Absent(path);
    });
  } catch (error) {
    if (error instanceof Absent) return undefined;
    throw error;
  }
}

class Absent extends Error {}

/** Forgets a path and everything below it. */
export function forget(tree: LayerTree, path: string): void {
  tree.links.delete(path);
  if (!tree.directories.delete(path)) return;
  const below = `${path}/`;
  for (const directory of tree.directories) if (directory.startsWith(below)) tree.directories.delete(directory);
  for (const link of tree.links.keys()) if (link.startsWith(below)) tree.links.delete(link);
}
