// Owns authorization at a registry (distribution spec, "Token Authentication"; RFC 7617): a challenge and credentials become a header.

import type { Credentials } from '../credentials/docker-config.ts';
import { adviceFor, parseRetryAfter, RegistryError } from './registry-error.ts';
import type { RegistryHost } from './registry-hosts.ts';
import { isPlainHttp, readBody, request } from './registry-http.ts';

const TOKEN_LIMIT_BYTES = 1024 * 1024;

export interface Challenge {
  readonly scheme: string;
  readonly parameters: Readonly<Record<string, string>>;
}

/** Parses `Bearer realm="…",service="…"`; several challenges in one header are separated too. */
export function parseChallenges(header: string): Challenge[] {
  const challenges: { scheme: string; parameters: Record<string, string> }[] = [];
  const token = /\s*,?\s*([A-Za-z0-9!#$%&'*+.^_`|~-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)))?/y;
  for (let match = token.exec(header); match !== null && match[0] !== ''; match = token.exec(header)) {
    const [, name = '', quoted, plain] = match;
    const value = quoted?.replace(/\\(.)/g, '$1') ?? plain;
    if (value === undefined) challenges.push({ scheme: name.toLowerCase(), parameters: {} });
    else {
      const current = challenges.at(-1);
      if (current !== undefined) current.parameters[name.toLowerCase()] = value;
    }
  }
  return challenges;
}

/** "user:password" of either form in which CRI gives it. */
export function basicCredentials(auth: Credentials): string | undefined {
  if (auth.username !== undefined && auth.username !== '') return `${auth.username}:${auth.password ?? ''}`;
  if (auth.auth === undefined || auth.auth === '') return undefined;
  const decoded = Buffer.from(auth.auth, 'base64').toString('utf8').replace(/\0+$/, '');
  if (!decoded.includes(':')) throw new Error('the credentials for the image are not base64 of "user:password"');
  return decoded;
}

const basic = (credentials: string): string => `Basic ${Buffer.from(credentials).toString('base64')}`;

export interface AuthorizeOptions {
  /** "repository:library/busybox:pull", where the registry names none. */
  readonly scope: string;
  readonly auth: Credentials;
  /** For the advice in a refusal; pull by default. */
  readonly purpose?: 'pull' | 'push';
  /** Who asks: its trust goes for its token server too. */
  readonly host: Pick<RegistryHost, 'base' | 'tls' | 'connectTimeoutMs'>;
  readonly signal?: AbortSignal | undefined;
}

/** The Authorization header that answers a 401. Throws when the credentials do not suffice. */
export async function authorize(challenges: readonly Challenge[], options: AuthorizeOptions): Promise<string> {
  const { auth } = options;
  const credentials = basicCredentials(auth);
  const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
  if (bearer !== undefined) return `Bearer ${auth.registryToken || (await fetchToken(bearer.parameters, credentials, options))}`;
  const offersBasic = challenges.some(({ scheme }) => scheme === 'basic');
  if (offersBasic && credentials !== undefined) return basic(credentials);
  const { host: name } = new URL(options.host.base);
  if (offersBasic)
    throw new RegistryError(`${name} asks for a user name and a password; ${adviceFor(401, options.purpose)}`, { status: 401 });
  throw new RegistryError(`${name} refuses access and names no way to get it`, { status: 401 });
}

/**
 * Where it sends for a token. Credentials go there unencrypted only where somebody has said that this may be (http:// in a hosts.toml):
 * not when the registry itself is asked with TLS, and not from a registry of this host to the network.
 */
function tokenServer(realm: string, base: string, hasSecrets: boolean): URL {
  if (!URL.canParse(realm) || !/^https?:/.test(realm))
    throw new RegistryError(`${new URL(base).host} names the token server ${JSON.stringify(realm)}, which is not a URL`, {
      transient: false,
    });
  const url = new URL(realm);
  const isChosen = base.startsWith('http:') && !isPlainHttp(new URL(base).host);
  if (hasSecrets && url.protocol === 'http:' && !isChosen && !isPlainHttp(url.host))
    throw new RegistryError(
      `the token server ${url.host} of ${new URL(base).host} is to be asked without TLS, and the credentials are not told to it so`,
      {
        transient: false,
      },
    );
  return url;
}

async function fetchToken(
  parameters: Readonly<Record<string, string>>,
  credentials: string | undefined,
  { scope, auth, host, signal, purpose }: AuthorizeOptions,
): Promise<string> {
  const { realm = '', service } = parameters;
  const byRefreshToken = auth.identityToken !== undefined && auth.identityToken !== '';
  const url = tokenServer(realm, host.base, byRefreshToken || credentials !== undefined);
  const fields = new URLSearchParams({ ...(service !== undefined && { service }) });
  // Several are parted by blanks there (distribution's token authentication), and are fields of their own in a query.
  const scopes = (parameters.scope ?? scope).split(' ').filter((each) => each !== '');
  if (byRefreshToken) {
    fields.set('scope', scopes.join(' '));
    fields.set('grant_type', 'refresh_token');
    fields.set('client_id', 'tskubelet');
    fields.set('refresh_token', auth.identityToken ?? '');
  } else {
    for (const each of scopes) fields.append('scope', each);
    for (const [name, value] of fields) url.searchParams.append(name, value);
  }
  const answer = await request(url, {
    signal,
    tls: host.tls,
    connectTimeoutMs: host.connectTimeoutMs,
    ...(byRefreshToken
      ? { method: 'POST', body: fields.toString(), isSecret: true, headers: { 'content-type': 'application/x-www-form-urlencoded' } }
      : { headers: credentials === undefined ? {} : { authorization: basic(credentials) } }),
  });
  const body = await readBody(answer, TOKEN_LIMIT_BYTES);
  if (answer.status !== 200) {
    throw new RegistryError(`the token server ${url.host} answers ${answer.status}; ${adviceFor(answer.status, purpose)}`, {
      status: answer.status,
      retryAfterMs: parseRetryAfter(answer.headers['retry-after'], Date.now()),
    });
  }
  let token: unknown;
  try {
    const parsed = JSON.parse(body.toString('utf8')) as { token?: unknown; access_token?: unknown } | null;
    token = parsed?.token ?? parsed?.access_token;
  } catch {
    token = undefined;
  }
  // It becomes a header.
  if (typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token))
    throw new RegistryError(`the token server ${url.host} gives no token`, { status: answer.status });
  return token;
}
