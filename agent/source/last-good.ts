// What last ran from each file. A file that breaks while its pods run does not end them, also over a restart of the agent:
// the record is kept on disk, written whole and renamed into place.
import fs from 'node:fs/promises';
import path from 'node:path';
import type { Manifest } from '../manifest/manifest.ts';
import type { DesiredPod, Problem } from './source.ts';

/** By file, absolute. */
export type LastGood = ReadonlyMap<string, readonly DesiredPod[]>;

export function keyOf({ pod }: DesiredPod): string {
  return `${pod.metadata?.namespace}/${pod.metadata?.name}`;
}

/** What runs from a file: its good documents, and for its refused ones what ran before. */
export function planFile(manifest: Manifest, lastGood: readonly DesiredPod[]): { pods: DesiredPod[]; problems: Problem[] } {
  const pods = manifest.pods.map((next) => keepSame(next, lastGood));
  const names = new Set(pods.map(keyOf));
  const kept = lastGood.filter((before) => !names.has(keyOf(before)) && isHeld(manifest, before));
  return { pods: [...pods, ...kept], problems: addKept(manifest, kept) };
}

/** A pod that did not change stays the same object: it was seen when it was first seen. */
function keepSame(next: DesiredPod, lastGood: readonly DesiredPod[]): DesiredPod {
  const same = lastGood.find((before) => before.hash === next.hash && before.pod.metadata?.uid === next.pod.metadata?.uid);
  return same ? { ...same, origin: next.origin } : next;
}

// Without a readable name a refused document may stand for any pod of the file. A file with nothing in it is taken for one
// that is being written; one with only comments says that nothing shall run.
function isHeld({ refused, blank }: Manifest, before: DesiredPod): boolean {
  return blank || refused.some(({ namespace, name }) => name === undefined || `${namespace}/${name}` === keyOf(before));
}

function addKept({ problems, refused }: Manifest, kept: readonly DesiredPod[]): Problem[] {
  if (kept.length === 0) return [...problems];
  const told = new Set<number>();
  return problems.map((problem) => {
    const { document } = problem.origin;
    if (problem.severity !== 'refused' || told.has(document)) return problem;
    const refusal = refused.find((candidate) => candidate.document === document);
    const names = kept.map(keyOf).filter((name) => refusal?.name === undefined || `${refusal.namespace}/${refusal.name}` === name);
    if (names.length === 0) return problem;
    told.add(document);
    return { ...problem, message: `${problem.message} (until then ${names.join(', ')} runs on as it was)` };
  });
}

const recordVersion = 1;

/** Throws only when the record is there and cannot be read; one of another version or a damaged one counts as none. */
export async function loadLastGood(file: string): Promise<LastGood> {
  let text: string;
  try {
    text = await fs.readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Map();
    throw new Error(`read the record of pods ${file}`, { cause: error });
  }
  try {
    const record = JSON.parse(text) as { version: number; files: Record<string, DesiredPod[]> };
    return record.version === recordVersion ? new Map(Object.entries(record.files)) : new Map();
  } catch {
    return new Map();
  }
}

export async function saveLastGood(file: string, lastGood: LastGood): Promise<void> {
  const text = JSON.stringify({ version: recordVersion, files: Object.fromEntries(lastGood) });
  await fs.mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
  const next = `${file}.next`;
  const handle = await fs.open(next, 'w', 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await fs.rename(next, file);
}
