// Owns the kubelet's credential provider plugins (exec protocol credentialprovider.kubelet.k8s.io): which are asked for an image, what
// they are told and answer, and for how long an answer holds.
import path from 'node:path';
import type { Credentials } from '../../runtime/credentials/docker-config.ts';
import { matchingKeys } from '../../runtime/credentials/match-image.ts';
import { runCommand } from '../../runtime/linux/command.ts';
import type { CredentialProvider } from './provider-config.ts';

const PLUGIN_TIMEOUT_MS = 60_000;

export interface ProviderAnswer {
  readonly cacheKeyType: 'Image' | 'Registry' | 'Global';
  /** Absent: the configuration's. */
  readonly cacheMs?: number;
  /** By pattern of images. */
  readonly auth: Readonly<Record<string, Credentials>>;
}

export interface ProvidersOptions {
  readonly binDir: string;
  /** Told when a plugin fails: its image is then pulled without it. */
  readonly onFailure: (error: Error) => void;
  readonly run?: typeof runCommand;
  readonly nowMs?: () => number;
}

/** Credentials for "registry:5000/team/app", the most telling first. */
export type FindProvided = (repository: string) => Promise<readonly Credentials[]>;

export function openProviders(providers: readonly CredentialProvider[], options: ProvidersOptions): FindProvided {
  const { binDir, onFailure, run = runCommand, nowMs = Date.now } = options;
  const cached = new Map<string, { readonly answer: ProviderAnswer; readonly untilMs: number }>();
  const asking = new Map<string, Promise<ProviderAnswer>>();

  function recall(name: string, repository: string): ProviderAnswer | undefined {
    for (const type of ['Image', 'Registry', 'Global'] as const) {
      const key = cacheKey(name, type, repository);
      const found = cached.get(key);
      if (found === undefined) continue;
      if (found.untilMs > nowMs()) return found.answer;
      cached.delete(key);
    }
    return undefined;
  }

  /** One run of a plugin for all who want to know the same at the same time. */
  function ask(provider: CredentialProvider, repository: string): Promise<ProviderAnswer> {
    const key = cacheKey(provider.name, 'Image', repository);
    const running =
      asking.get(key) ??
      exec(provider, repository)
        .then((answer) => {
          const cacheMs = answer.cacheMs ?? provider.defaultCacheMs;
          if (cacheMs > 0) cached.set(cacheKey(provider.name, answer.cacheKeyType, repository), { answer, untilMs: nowMs() + cacheMs });
          return answer;
        })
        .finally(() => asking.delete(key));
    asking.set(key, running);
    return running;
  }

  async function exec({ name, apiVersion, args, env }: CredentialProvider, repository: string): Promise<ProviderAnswer> {
    const request = JSON.stringify({ kind: 'CredentialProviderRequest', apiVersion, image: repository });
    const variables = Object.entries({ ...process.env, ...env }).filter((entry): entry is [string, string] => entry[1] !== undefined);
    const { exitCode, stdout, stderr } = await run([path.join(binDir, name), ...args], {
      ...{ stdin: request, env: Object.fromEntries(variables), timeoutMs: PLUGIN_TIMEOUT_MS },
    });
    if (exitCode !== 0) {
      const [reason = ''] = stderr.toString('utf8').trim().split('\n');
      throw new Error(`it ends with ${exitCode}${reason === '' ? '' : ` (${reason.slice(0, 200)})`}`);
    }
    return parseAnswer(stdout.toString('utf8'), apiVersion);
  }

  return async (repository) => {
    const found: Credentials[] = [];
    for (const provider of providers) {
      if (matchingKeys(provider.matchImages, repository).length === 0) continue;
      try {
        const { auth } = recall(provider.name, repository) ?? (await ask(provider, repository));
        found.push(...matchingKeys(Object.keys(auth), repository).map((key) => auth[key] ?? {}));
      } catch (cause) {
        onFailure(new Error(`get credentials for ${repository} from the provider ${provider.name}`, { cause }));
      }
    }
    return found;
  };
}

function cacheKey(name: string, type: ProviderAnswer['cacheKeyType'], repository: string): string {
  const [registry = ''] = repository.split('/');
  return JSON.stringify([name, type, { Image: repository, Registry: registry, Global: '' }[type]]);
}

/** Go marshals a metav1.Duration as text. */
const DURATION = /^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?$/;

export function parseAnswer(text: string, apiVersion: string): ProviderAnswer {
  let value: Record<string, unknown>;
  try {
    value = (JSON.parse(text) ?? {}) as Record<string, unknown>;
  } catch {
    throw new Error('its answer is not JSON');
  }
  if (value.kind !== 'CredentialProviderResponse' || value.apiVersion !== apiVersion)
    throw new Error(`its answer is of ${String(value.apiVersion)} ${String(value.kind)}, not of ${apiVersion} CredentialProviderResponse`);
  const { cacheKeyType, cacheDuration, auth } = value;
  if (cacheKeyType !== 'Image' && cacheKeyType !== 'Registry' && cacheKeyType !== 'Global')
    throw new Error(`its answer has the cacheKeyType ${JSON.stringify(cacheKeyType ?? '')}; there are Image, Registry and Global`);
  const [whole, hours = 0, minutes = 0, seconds = 0] = typeof cacheDuration === 'string' ? (DURATION.exec(cacheDuration) ?? []) : [];
  if (cacheDuration !== undefined && cacheDuration !== null && (whole === undefined || whole === ''))
    throw new Error(`its answer has the cacheDuration ${JSON.stringify(cacheDuration)}, which is none`);
  const entries = Object.entries((auth ?? {}) as Record<string, { username?: unknown; password?: unknown } | null>);
  return {
    cacheKeyType,
    ...(whole !== undefined && { cacheMs: (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)) * 1000 }),
    auth: Object.fromEntries(
      entries.map(([key, given]) => [key, { username: String(given?.username ?? ''), password: String(given?.password ?? '') }]),
    ),
  };
}
