// Owns object ids: 64 hex digits, found by any unique prefix, and the names that make a repeated create recognisable.
import { randomBytes } from 'node:crypto';
import { invalidArgument } from './errors.ts';

/** 32 random bytes as 64 lower-case hex digits, as containerd and CRI-O use. */
export function newId(): string {
  return randomBytes(32).toString('hex');
}

/** Those that a full id or the beginning of one may mean; an empty one means none. */
export function matchPrefix<T>(objects: ReadonlyMap<string, T>, prefix: string): readonly T[] {
  const exact = objects.get(prefix);
  if (exact !== undefined) return [exact];
  return prefix === '' ? [] : [...objects].filter(([id]) => id.startsWith(prefix)).map(([, object]) => object);
}

/** Undefined when there is none. Throws INVALID_ARGUMENT for the beginning of several: stop and remove would seem to have done it. */
export function findByPrefix<T>(objects: ReadonlyMap<string, T>, prefix: string): T | undefined {
  const [found, another] = matchPrefix(objects, prefix);
  if (another !== undefined) throw invalidArgument(`several ids begin with "${prefix}": give more of it`);
  return found;
}

export interface SandboxName {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly attempt: number;
}

/** "<name>_<namespace>_<uid>_<attempt>": two sandboxes may not share it at the same time. */
export function sandboxKey({ name, namespace, uid, attempt }: SandboxName): string {
  return [name, namespace, uid, attempt].join('_');
}

/** "<container>_<sandbox name>_<namespace>_<uid>_<attempt>" */
export function containerKey(container: { name: string; attempt: number }, sandbox: SandboxName): string {
  return [container.name, sandbox.name, sandbox.namespace, sandbox.uid, container.attempt].join('_');
}
