// Owns which external OCI runtimes are configured, and what each of them can do, by its own word.
import fs from 'node:fs';
import path from 'node:path';
import type { RuntimeHandler } from '../../cri-proto/gen/api.ts';
import { runCommand } from '../linux/command.ts';
import { hasCode } from '../linux/errno.ts';

/** The runtime handlers that are ours: no handler at all means the same. */
export const OWN_HANDLERS: readonly string[] = ['', 'tskubelet'];

const FEATURES_MS = 10_000;

export interface OciRuntime {
  readonly handler: string;
  /** The executable. */
  readonly path: string;
  readonly recursiveReadOnlyMounts: boolean;
  /** It maps the owners of mounts: a pod with users of its own needs that. */
  readonly idMappedMounts: boolean;
}

/** `handlers`: name to absolute path. A path that cannot be executed is an error now and not at the first pod. */
export async function findOciRuntimes(handlers: Readonly<Record<string, string>>): Promise<ReadonlyMap<string, OciRuntime>> {
  const runtimes = await Promise.all(Object.entries(handlers).map(([handler, file]) => findOciRuntime(handler, file)));
  return new Map(runtimes.map((runtime) => [runtime.handler, runtime]));
}

async function findOciRuntime(handler: string, file: string): Promise<OciRuntime> {
  try {
    if (!path.isAbsolute(file)) throw new Error(`"${file}" is not an absolute path`);
    await fs.promises.access(file, fs.constants.X_OK);
  } catch (cause) {
    const flag = `--runtime-handler ${handler}=${file}`;
    if (hasCode(cause, 'ENOENT')) throw new Error(`${flag}: there is no such file`);
    if (hasCode(cause, 'EACCES')) throw new Error(`${flag}: the file cannot be executed`);
    throw new Error(flag, { cause });
  }
  return { handler, path: file, ...(await readFeatures(file)) };
}

type Features = Pick<OciRuntime, 'recursiveReadOnlyMounts' | 'idMappedMounts'>;

/** `RUNTIME features` prints JSON (runtime-spec, features.md); older runtimes do not know the command, nor what is asked for here. */
async function readFeatures(file: string): Promise<Features> {
  const nothing = { recursiveReadOnlyMounts: false, idMappedMounts: false };
  try {
    const { exitCode, stdout } = await runCommand([file, 'features'], { timeoutMs: FEATURES_MS });
    return exitCode === 0 ? parseFeatures(stdout.toString()) : nothing;
  } catch {
    return nothing;
  }
}

export function parseFeatures(text: string): Features {
  const { mountOptions, linux } = JSON.parse(text) as {
    readonly mountOptions?: unknown;
    readonly linux?: { readonly mountExtensions?: { readonly idmap?: { readonly enabled?: unknown } } };
  };
  return {
    recursiveReadOnlyMounts: Array.isArray(mountOptions) && mountOptions.includes('rro'),
    idMappedMounts: linux?.mountExtensions?.idmap?.enabled === true,
  };
}

/** As Status tells them, in order of their names. `own`: what our own runtime can do. */
export function renderRuntimeHandlers(
  runtimes: ReadonlyMap<string, OciRuntime>,
  own: NonNullable<RuntimeHandler['features']>,
): RuntimeHandler[] {
  const external = [...runtimes.values()].map(({ handler, recursiveReadOnlyMounts, idMappedMounts }) => ({
    name: handler,
    features: { recursiveReadOnlyMounts, userNamespaces: own.userNamespaces && idMappedMounts },
  }));
  const all = [...OWN_HANDLERS.map((name) => ({ name, features: own })), ...external];
  return all.sort((a, b) => (a.name < b.name ? -1 : 1));
}
