// Owns the reading of CRI's user namespace options: what may be asked, and which host id an id of the container is. Pure.
import { NamespaceMode as Cri, type IDMapping, type NamespaceOption, type UserNamespace } from '../../cri-proto/gen/api.ts';
import { invalidArgument } from '../errors.ts';
import type { IdMapping } from '../program/spec.ts';

export interface IdMaps {
  readonly uidMappings: readonly IdMapping[];
  readonly gidMappings: readonly IdMapping[];
}

const ID_LIMIT = 2 ** 32 - 1;

/** The maps of a sandbox whose root is not the host's; undefined when it has no user namespace of its own. */
export function planIdMaps(options: NamespaceOption | undefined): IdMaps | undefined {
  const asked = options?.usernsOptions;
  if (asked === undefined) return undefined;
  if (asked.mode === Cri.NODE) {
    if (asked.uids.length + asked.gids.length > 0)
      throw invalidArgument('userns_options has mode NODE and mappings: only mode POD takes them');
    return undefined;
  }
  if (asked.mode !== Cri.POD) throw invalidArgument('userns_options must have mode POD or NODE: a user namespace is the whole sandbox’s');
  for (const [namespace, mode] of [
    ['network', options?.network],
    ['pid', options?.pid],
    ['ipc', options?.ipc],
  ] as const)
    if (mode === Cri.NODE) throw invalidArgument(`a sandbox with a user namespace cannot be in the host's ${namespace} namespace`);
  return { uidMappings: planMappings('uids', asked.uids), gidMappings: planMappings('gids', asked.gids) };
}

/** CRI allows one range each, and without id 0 in it nothing could be set up. */
function planMappings(field: 'uids' | 'gids', mappings: readonly IDMapping[]): readonly IdMapping[] {
  const [only] = mappings;
  if (only === undefined || mappings.length !== 1)
    throw invalidArgument(`userns_options.${field} has ${mappings.length} mappings: mode POD takes exactly one`);
  const { containerId, hostId, length } = only;
  if (containerId !== 0)
    throw invalidArgument(`userns_options.${field} maps ids from ${containerId} on: it must begin with container_id 0`);
  if (length === 0 || hostId + length > ID_LIMIT)
    throw invalidArgument(
      `userns_options.${field} maps ${length} ids from host_id ${hostId} on: at least one, and none above ${ID_LIMIT - 1}`,
    );
  return [{ containerId, hostId, size: length }];
}

/** A container is in its sandbox' user namespace: saying nothing is fine, saying something else is not. */
export function checkSameUserNamespace(sandbox: NamespaceOption | undefined, container: NamespaceOption | undefined): void {
  const asked = container?.usernsOptions;
  if (asked !== undefined && describe(asked) !== describe(sandbox?.usernsOptions))
    throw invalidArgument("userns_options of the container differ from its sandbox': give both the same");
}

function describe(options: UserNamespace | undefined): string {
  if (options === undefined || options.mode === Cri.NODE) return 'host';
  const ranges = (mappings: readonly IDMapping[]) =>
    mappings.map(({ containerId, hostId, length }) => `${containerId}-${hostId}-${length}`);
  return JSON.stringify([options.mode, ranges(options.uids), ranges(options.gids)]);
}

/** Whether a mount asks for its owners to be mapped; the kernel has one map to offer, the sandbox' own. */
export function isMapped(
  target: string,
  mount: { readonly uidMappings: readonly IDMapping[]; readonly gidMappings: readonly IDMapping[] },
  maps: IdMaps | undefined,
): boolean {
  if (mount.uidMappings.length + mount.gidMappings.length === 0) return false;
  const same = (asked: readonly IDMapping[], own: readonly IdMapping[] = []) =>
    JSON.stringify(asked.map(({ containerId, hostId, length }) => [containerId, hostId, length])) ===
    JSON.stringify(own.map(({ containerId, hostId, size }) => [containerId, hostId, size]));
  if (maps === undefined || !same(mount.uidMappings, maps.uidMappings) || !same(mount.gidMappings, maps.gidMappings))
    throw invalidArgument(`mount of ${target}: its uidMappings and gidMappings must be those of the sandbox' user namespace`);
  return true;
}

/** The host's number of a container's id. */
export function hostId(kind: 'uid' | 'gid', id: number, mappings: readonly IdMapping[] | undefined): number {
  if (mappings === undefined) return id;
  const range = mappings.find(({ containerId, size }) => id >= containerId && id < containerId + size);
  if (range === undefined) throw invalidArgument(`${kind} ${id} is not mapped in the user namespace of the sandbox`);
  return range.hostId + id - range.containerId;
}
