// Owns asking the hosts of one repository: who is asked and in what order, with which authorization, and how often. What is asked is its
// callers' (registry.ts pulls).
import type { Credentials } from '../credentials/docker-config.ts';
import { matchesImage, parsePattern } from '../credentials/match-image.ts';
import { formatReference, type Reference } from './reference.ts';
import { authorize, parseChallenges } from './registry-auth.ts';
import { adviceFor, parseErrorBody, parseRetryAfter, RegistryError } from './registry-error.ts';
import { type Capability, planUpstream, type RegistryHost } from './registry-hosts.ts';
import { discard, type HttpAnswer, type HttpRequest, isUnreachable, readBody, request } from './registry-http.ts';
import { pause, retryDelayMs } from './registry-retry.ts';

/** Attempts without any progress between them. */
const ATTEMPTS = 5;
const RETRY_DELAY_MS = 500;

export interface RegistryOptions {
  /** Credentials that the request came with. */
  readonly auth?: Credentials | undefined;
  /** Credentials of this machine for "quay.io/team/app", asked for when the request brought none and the registry wants some. */
  readonly findCredentials?: ((repository: string) => Promise<Credentials | undefined>) | undefined;
  /** Where to ask, in this order; the registry itself by default. */
  readonly hosts?: readonly RegistryHost[];
  readonly signal?: AbortSignal | undefined;
  readonly stallTimeoutMs?: number | undefined;
  /** Before the second attempt; grows from there. */
  readonly retryDelayMs?: number;
  /** Of the distribution spec's token scope: "pull", "pull,push". */
  readonly actions?: string;
}

export type RegistryRequest = Pick<HttpRequest, 'method' | 'headers' | 'body' | 'answerTimeoutMs' | 'isVerified'>;

export interface RegistryClient {
  readonly reference: Reference;
  /** The hosts with a capability, those first that have not failed lately. */
  hosts(capability: Capability): readonly RegistryHost[];
  /** Asks one host. `path` is below the repository: "manifests/1". Throws unless it answers 2xx. */
  send(host: RegistryHost, path: string, request?: RegistryRequest): Promise<HttpAnswer>;
  /** Asks one host after the other: what a mirror lacks, or cannot tell, the next one may have. */
  ask(path: string, capability: Capability, request?: RegistryRequest): Promise<HttpAnswer & { readonly host: RegistryHost }>;
  /** Puts a host behind the others: it answered, and what came was of no use. */
  demote(host: RegistryHost): void;
  /** Tries again where that may help. `progress` is looked at after a failure: once it has grown, patience starts anew. */
  persistently<T>(attempt: () => Promise<T>, progress?: () => number): Promise<T>;
}

/** Bytes that count as progress: a registry that gives a few bytes per connection shall not keep us for ever. */
const PROGRESS_BYTES = 64 * 1024;

export function openRegistry(reference: Reference, options: RegistryOptions): RegistryClient {
  const { auth, signal, actions = 'pull' } = options;
  const hosts = options.hosts ?? [planUpstream(reference.domain)];
  const scope = `repository:${reference.path}:${actions}`;
  const authorizations = new Map<RegistryHost, string>();
  const renewals = new Map<RegistryHost, Promise<string>>();
  const demerits = new Map<RegistryHost, number>();
  let answered = false;

  /** One token for all layers that are refused at the same time. */
  function renew(host: RegistryHost, challenges: ReturnType<typeof parseChallenges>): Promise<string> {
    const running =
      renewals.get(host) ??
      (async () => {
        const value = await authorize(challenges, { scope, auth: await credentialsFor(host), host, signal });
        authorizations.set(host, value);
        return value;
      })().finally(() => renewals.delete(host));
    renewals.set(host, running);
    return running;
  }

  async function credentialsFor(host: RegistryHost): Promise<Credentials> {
    if (auth !== undefined && Object.values(auth).some((value) => value !== undefined && value !== ''))
      return isFor(host, reference.domain, auth) ? auth : {};
    const name = host.namespace === undefined ? reference.domain : new URL(host.base).host;
    return (await options.findCredentials?.(`${name}/${reference.path}`)) ?? {};
  }

  async function send(host: RegistryHost, path: string, asked: RegistryRequest = {}): Promise<HttpAnswer> {
    const url = new URL(`${host.base}/${reference.path}/${path}`);
    if (host.namespace !== undefined) url.searchParams.set('ns', host.namespace);
    for (let renewed = false; ; ) {
      const authorization = authorizations.get(host);
      const answer = await request(url, {
        ...asked,
        headers: { ...host.headers, ...asked.headers, ...(authorization !== undefined && { authorization }) },
        signal,
        tls: host.tls,
        connectTimeoutMs: host.connectTimeoutMs,
      });
      answered = true;
      if (answer.status >= 200 && answer.status < 300) return answer;
      const challenges = parseChallenges(answer.headers['www-authenticate'] ?? '');
      if (answer.status !== 401 || renewed || challenges.length === 0) throw await refusal(host, answer);
      discard(answer);
      // Unless another request has a newer one by now.
      if (authorizations.get(host) === authorization) {
        await renew(host, challenges);
        renewed = true;
      }
    }
  }

  /** The last host's word counts: it is the registry itself, or stands in for it. What the mirrors said is told with it. */
  function summarize(failures: readonly RegistryError[], needed: Capability): RegistryError {
    const last = failures.at(-1);
    if (last === undefined)
      return new RegistryError(`no host configured for ${reference.domain} has the capability ${needed}`, { status: 400 });
    if (failures.length === 1) return last;
    const mirrors = failures.slice(0, -1).map(({ message }) => message.replace(/; .*$/, ''));
    const { status, code, cause, retryAfterMs } = last;
    // Where any of them may do better later, it is worth another round.
    const transient = failures.some(({ isTransient }) => isTransient);
    const message = `${last.message}; before that: ${mirrors.join(', ')}`;
    return new RegistryError(message, { status, code, cause, transient, retryAfterMs });
  }

  async function refusal({ namespace }: RegistryHost, answer: HttpAnswer): Promise<RegistryError> {
    const body = (await readBody(answer, 64 * 1024).catch(() => Buffer.alloc(0))).toString('utf8');
    const { code, message } = parseErrorBody(body);
    const { status, url } = answer;
    const reason = message === '' ? '' : ` ${message}`;
    const retryAfterMs = parseRetryAfter(answer.headers['retry-after'], Date.now());
    if (status === 400 && /HTTPS (server|port)/i.test(body))
      return new RegistryError(`${url.host} speaks TLS and was asked without; write server = "https://${url.host}" in its hosts.toml`, {
        status,
      });
    if (status === 404)
      return new RegistryError(
        `${formatReference(reference)} is not in ${namespace === undefined ? 'the registry' : `the mirror ${url.host}`} (404${reason}); ${adviceFor(404)}`,
        { status, code },
      );
    const wait = retryAfterMs === undefined ? '' : `, asks for ${Math.ceil(retryAfterMs / 1000)} s of patience`;
    return new RegistryError(`${url.host} answers ${status}${reason}${wait}; ${adviceFor(status)}`, { status, code, retryAfterMs });
  }

  const client: RegistryClient = {
    reference,
    hosts: (capability) =>
      hosts.filter(({ capabilities }) => capabilities.has(capability)).sort((a, b) => (demerits.get(a) ?? 0) - (demerits.get(b) ?? 0)),
    send,
    ask: async (path, capability, asked) => {
      const failures: RegistryError[] = [];
      for (const host of client.hosts(capability)) {
        try {
          return { ...(await send(host, path, asked)), host };
        } catch (error) {
          signal?.throwIfAborted();
          if (!(error instanceof RegistryError)) throw error;
          failures.push(error);
        }
      }
      throw summarize(failures, capability);
    },
    demote: (host) => void demerits.set(host, (demerits.get(host) ?? 0) + 1),
    persistently: async (attempt, progress = () => 0) => {
      let mark = progress();
      for (let attempts = 1; ; attempts++) {
        try {
          return await attempt();
        } catch (error) {
          signal?.throwIfAborted();
          if (progress() >= mark + PROGRESS_BYTES) {
            mark = progress();
            attempts = 1;
          }
          // Nothing listens, or there is no such name, and never did: the caller's own back-off is the better place to wait.
          const isHopeless = !answered && error instanceof RegistryError && isUnreachable(error);
          if (!(error instanceof RegistryError) || !error.isTransient || attempts === ATTEMPTS || isHopeless) throw error;
          const waitMs = retryDelayMs(error, attempts, options.retryDelayMs ?? RETRY_DELAY_MS);
          if (waitMs === undefined) throw error;
          await pause(waitMs, signal);
        }
      }
    },
  };
  return client;
}

/** Credentials that name their server are told to no other one. The registry itself goes by its name too: docker.io has several. */
function isFor({ base, namespace }: RegistryHost, domain: string, { serverAddress = '' }: Credentials): boolean {
  if (serverAddress === '') return true;
  const names = [new URL(base).host, ...(namespace === undefined ? [domain] : [])];
  const authority = serverAddress.replace(/^https?:\/\//i, '').replace(/\/.*$/, '');
  const spell = (name: string) => name.replace(/:443$/, '');
  return names.some((name) => matchesImage(parsePattern(spell(authority)), spell(name)));
}
