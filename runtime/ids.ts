// Owns object ids: 64 hex digits, found by any unique prefix, and the names that make a repeated create recognisable.
import { randomBytes } from 'node:crypto';

/** 32 random bytes as 64 lower-case hex digits, as containerd and CRI-O use. */
export function newId(): string {
  return randomBytes(32).toString('hex');
}

/** The only key that starts with `prefix`, or the key itself; undefined when there is none or more than one. */
export function findByPrefix<T>(objects: ReadonlyMap<string, T>, prefix: string): T | undefined {
  const exact = objects.get(prefix);
  if (exact !== undefined || prefix === '') return exact;
  let found: T | undefined;
  for (const [id, object] of objects) {
    if (!id.startsWith(prefix)) continue;
    if (found !== undefined) return undefined;
    found = object;
  }
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
