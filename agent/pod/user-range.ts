// Owns which host ids a pod with users of its own (hostUsers: false) has: 65536 of them, no other pod's, noted in pods/<uid>/userns in the
// kubelet's form for as long as the pod's directory is there.
import fs from 'node:fs';
import path from 'node:path';
import type { V1Pod } from '@kubernetes/client-node';
import { type DeepPartial, type IDMapping, NamespaceMode, type UserNamespace } from '../../cri-proto/gen/api.ts';
import { type NodePaths, podDir } from './paths.ts';

export interface UserRange {
  readonly hostId: number;
  readonly length: number;
}

const LENGTH = 65_536;
const LAST_BLOCK = 65_534;
const FILE = 'userns';

/** The lowest range above the host's own users. */
export const FIRST_RANGE: UserRange = { hostId: LENGTH, length: LENGTH };

export function hasOwnUsers(pod: V1Pod): boolean {
  return pod.spec?.hostUsers === false;
}

/** The lowest range that is free. */
export function planUserRange(taken: readonly UserRange[]): UserRange {
  const starts = new Set(taken.map(({ hostId }) => hostId));
  for (let block = 1; block <= LAST_BLOCK; block++) if (!starts.has(block * LENGTH)) return { hostId: block * LENGTH, length: LENGTH };
  throw new Error(`all ${LAST_BLOCK} ranges of user ids are taken by pods with hostUsers: false`);
}

export function renderMappings({ hostId, length }: UserRange): [IDMapping] {
  return [{ hostId, containerId: 0, length }];
}

export function renderUserNamespace(users: UserRange): DeepPartial<UserNamespace> {
  return { mode: NamespaceMode.POD, uids: renderMappings(users), gids: renderMappings(users) };
}

/** Looks and writes in one turn of the event loop, so that two pods never find the same range free. */
export function ensureUserRange(paths: NodePaths, pod: V1Pod): UserRange | undefined {
  if (!hasOwnUsers(pod)) return undefined;
  const directory = podDir(paths, pod.metadata?.uid ?? '');
  const own = readUserRange(directory);
  if (own !== undefined) return own;
  const others = fs.readdirSync(paths.podsDir).map((uid) => readUserRange(path.join(paths.podsDir, uid)));
  const range = planUserRange(others.filter((other) => other !== undefined));
  const mappings = renderMappings(range);
  const temporary = path.join(directory, `.${FILE}.new`);
  fs.writeFileSync(temporary, JSON.stringify({ uidMappings: mappings, gidMappings: mappings }), { mode: 0o600 });
  fs.renameSync(temporary, path.join(directory, FILE));
  return range;
}

function readUserRange(directory: string): UserRange | undefined {
  let text: string;
  try {
    text = fs.readFileSync(path.join(directory, FILE), 'utf8');
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
  try {
    const { uidMappings } = JSON.parse(text) as { uidMappings?: readonly IDMapping[] };
    const first = uidMappings?.[0];
    return first === undefined ? undefined : { hostId: first.hostId, length: first.length };
  } catch {
    // Torn by a power loss, which ended the pod too.
    return undefined;
  }
}
