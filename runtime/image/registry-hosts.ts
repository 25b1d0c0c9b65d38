// Owns where a registry's content may be had: containerd's hosts.toml directories (docs/hosts.md of containerd) and docker's certificate
// directories, mirrors first, the registry itself last. Read again for each pull: a change needs no restart.
import fs from 'node:fs';
import path from 'node:path';
import { parse } from 'smol-toml';
import { hasCode } from '../linux/errno.ts';
import { isPlainHttp } from './registry-http.ts';
import { trustFor } from './registry-tls.ts';

export type Capability = 'pull' | 'resolve' | 'push';

export interface RegistryHost {
  /** "https://mirror.example/v2": what comes before "/<repository>/manifests/…". */
  readonly base: string;
  readonly capabilities: ReadonlySet<Capability>;
  readonly headers: Readonly<Record<string, string>>;
  /** Names the registry that a mirror stands for, as containerd tells it: ?ns=. */
  readonly namespace: string | undefined;
  readonly tls: HostTls | undefined;
  /** dial_timeout */
  readonly connectTimeoutMs?: number | undefined;
}

export interface HostTls {
  readonly skipVerify: boolean;
  /** PEM. */
  readonly ca?: string[];
  readonly certs?: string[];
  readonly keys?: string[];
}

const ALL: readonly Capability[] = ['pull', 'resolve', 'push'];

/** The registry itself, without any configuration. */
export function planUpstream(domain: string): RegistryHost {
  // Docker Hub's registry does not live under its name.
  const origin = domain === 'docker.io' ? 'https://registry-1.docker.io' : `${isPlainHttp(domain) ? 'http' : 'https'}://${domain}`;
  return { base: `${origin}/v2`, capabilities: new Set(ALL), headers: {}, namespace: undefined, tls: undefined };
}

/** The directories that may hold a registry's configuration, best first: "localhost_5000_", "localhost:5000", "_default". */
export function planHostDirectories(domain: string): readonly string[] {
  const [, name, port] = /^(.*?)(?::(\d+))?$/.exec(domain) ?? [];
  return [...(port === undefined ? [] : [`${name}_${port}_`]), domain, '_default'];
}

/** What hosts.toml says, before any file that it names is read. */
export interface HostEntry {
  readonly base: string;
  readonly capabilities: ReadonlySet<Capability>;
  readonly headers: Readonly<Record<string, string>>;
  readonly skipVerify: boolean;
  readonly ca: readonly string[];
  /** Pairs of certificate and key; a pair in one file has no key. */
  readonly client: readonly (readonly [cert: string, key: string | undefined])[];
  readonly connectTimeoutMs: number | undefined;
}

const KEYS = ['capabilities', 'ca', 'client', 'skip_verify', 'header', 'override_path', 'dial_timeout'];

/** Throws a sentence with file and key. */
export function parseHosts(text: string, file: string, domain: string): readonly HostEntry[] {
  let document: Record<string, unknown>;
  try {
    document = parse(text) as Record<string, unknown>;
  } catch (error) {
    const [line] = (error instanceof Error ? error.message : String(error)).split('\n');
    throw new Error(`${file}: ${line}`);
  }
  const { server, host, ...own } = document;
  const tables = host === undefined ? [] : Object.entries(tableOf(host, file, 'host'));
  const mirrors = tables.map(([name, table]) => parseHost(name, tableOf(table, file, `host."${name}"`), file, `host."${name}"`));
  // Whoever configures TLS for a registry of this host means to use it.
  const isSecure = ['ca', 'client', 'skip_verify'].some((key) => own[key] !== undefined);
  const upstream = server === undefined || server === '' ? originOf(domain, isSecure) : textOf(server, file, 'server');
  return [...mirrors, parseHost(upstream, own, file, 'the top')];
}

function originOf(domain: string, isSecure = false): string {
  return planUpstream(domain)
    .base.replace(/\/v2$/, '')
    .replace(isSecure ? /^http:/ : /^$/, 'https:');
}

function parseHost(name: string, table: Record<string, unknown>, file: string, where: string): HostEntry {
  const unknown = Object.keys(table).find((key) => !KEYS.includes(key));
  if (unknown !== undefined) throw new Error(`${file}: ${where} has the unknown key ${unknown}; known are ${KEYS.join(', ')}`);
  const url = name.includes('://') ? name : `https://${name}`;
  if (!URL.canParse(url) || !/^https?:/.test(url)) throw new Error(`${file}: "${name}" is no http or https URL`);
  const overridePath = table.override_path ?? false;
  const skipVerify = table.skip_verify ?? false;
  for (const [key, value] of Object.entries({ override_path: overridePath, skip_verify: skipVerify }))
    if (typeof value !== 'boolean') throw new Error(`${file}: ${where}: ${key} must be true or false`);
  const trimmed = url.replace(/\/+$/, '');
  return {
    base: overridePath === true || /\/v2$/.test(trimmed) ? trimmed : `${trimmed}/v2`,
    capabilities: parseCapabilities(table.capabilities, file, where),
    headers: parseHeaders(table.header, file, where),
    skipVerify: skipVerify === true,
    ca: textsOf(table.ca, file, `${where}: ca`),
    client: parseClient(table.client, file, where),
    connectTimeoutMs: parseTimeout(table.dial_timeout, file, where),
  };
}

function parseCapabilities(value: unknown, file: string, where: string): ReadonlySet<Capability> {
  if (value === undefined) return new Set(ALL);
  const names = textsOf(value, file, `${where}: capabilities`);
  const wrong = names.find((name) => !ALL.includes(name as Capability));
  if (wrong !== undefined) throw new Error(`${file}: ${where}: "${wrong}" is no capability; there are ${ALL.join(', ')}`);
  return new Set(names as Capability[]);
}

function parseHeaders(value: unknown, file: string, where: string): Record<string, string> {
  if (value === undefined) return {};
  return Object.fromEntries(
    Object.entries(tableOf(value, file, `${where}: header`)).map(([name, content]) => [
      name.toLowerCase(),
      textsOf(content, file, `${where}: header.${name}`).join(', '),
    ]),
  );
}

const unitMs: Readonly<Record<string, number>> = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Go's durations: "500ms", "1m30s". */
function parseTimeout(value: unknown, file: string, where: string): number | undefined {
  if (value === undefined) return undefined;
  const text = textOf(value, file, `${where}: dial_timeout`);
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)];
  const ms = parts.reduce((total, [, number, unit]) => total + Number(number) * (unitMs[unit ?? ''] ?? 0), 0);
  if (parts.map(([whole]) => whole).join('') !== text || ms <= 0)
    throw new Error(`${file}: ${where}: dial_timeout ${JSON.stringify(text)} is no duration; write it like 500ms or 10s`);
  return Math.max(1, Math.round(ms));
}

/** "cert.pem", ["cert.pem", …] or [["cert.pem", "key.pem"], …]. */
function parseClient(value: unknown, file: string, where: string): HostEntry['client'] {
  if (value === undefined) return [];
  return (Array.isArray(value) ? value : [value]).map((entry: unknown) => {
    if (typeof entry === 'string') return [entry, undefined] as const;
    const [cert = '', key] = textsOf(entry, file, `${where}: client`);
    return [cert, key === '' ? undefined : key] as const;
  });
}

function textOf(value: unknown, file: string, where: string): string {
  if (typeof value !== 'string') throw new Error(`${file}: ${where} must be a string`);
  return value;
}

function textsOf(value: unknown, file: string, where: string): string[] {
  if (value === undefined) return [];
  return (Array.isArray(value) ? value : [value]).map((entry) => textOf(entry, file, where));
}

function tableOf(value: unknown, file: string, where: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error(`${file}: ${where} must be a table`);
  return value as Record<string, unknown>;
}

/**
 * The hosts to ask for a registry's content, in their order. `configDirs`: one directory, or several with colons between them. Throws a
 * sentence when the configuration cannot be used.
 */
export async function findHosts(configDirs: string | undefined, domain: string): Promise<readonly RegistryHost[]> {
  const bases = (configDirs ?? '').split(':').filter((base) => base !== '');
  for (const directory of bases.flatMap((base) => planHostDirectories(domain).map((name) => path.join(base, name)))) {
    const file = path.join(directory, 'hosts.toml');
    const text = await ifThere(fs.promises.readFile(file, 'utf8'));
    if (text !== undefined) return Promise.all(parseHosts(text, file, domain).map((entry) => resolveHost(entry, directory, domain)));
    const names = await ifThere(fs.promises.readdir(directory));
    if (names !== undefined) return [await resolveHost(planCertificates(names.sort(), directory, domain), directory, domain)];
  }
  return [planUpstream(domain)];
}

/** A directory without hosts.toml, as docker reads it: CAs are *.crt, pairs for clients *.cert and *.key. */
export function planCertificates(names: readonly string[], directory: string, domain: string): HostEntry {
  const ca = names.filter((name) => name.endsWith('.crt'));
  const client = names
    .filter((name) => name.endsWith('.cert'))
    .map((cert) => {
      const key = cert.replace(/cert$/, 'key');
      if (!names.includes(key)) throw new Error(`${directory} has ${cert} without ${key}`);
      return [cert, key] as const;
    });
  const base = `${originOf(domain, ca.length + client.length > 0)}/v2`;
  return { base, capabilities: new Set(ALL), headers: {}, skipVerify: false, ca, client, connectTimeoutMs: undefined };
}

async function resolveHost(entry: HostEntry, directory: string, domain: string): Promise<RegistryHost> {
  const read = async (name: string) => {
    const file = path.resolve(directory, name);
    const pem = await fs.promises.readFile(file, 'utf8');
    // OpenSSL takes a file of CAs without any as it takes one with some.
    if (!pem.includes('-----BEGIN ')) throw new Error(`${file} has no certificate or key in it (PEM)`);
    return pem;
  };
  const { base, capabilities, headers, skipVerify, ca, client, connectTimeoutMs } = entry;
  const plain = base.startsWith('http:');
  const isUsual = plain || (!skipVerify && ca.length === 0 && client.length === 0);
  const tls = isUsual
    ? undefined
    : {
        skipVerify,
        ...(ca.length > 0 && { ca: await Promise.all(ca.map(read)) }),
        ...(client.length > 0 && {
          certs: await Promise.all(client.map(([cert]) => read(cert))),
          keys: await Promise.all(client.map(([cert, key]) => read(key ?? cert))),
        }),
      };
  try {
    await trustFor(tls);
  } catch (error) {
    const { reason } = error as { reason?: unknown };
    throw new Error(`the certificates of ${directory} cannot be used: ${String(reason ?? error)}`);
  }
  return {
    base,
    capabilities,
    headers,
    connectTimeoutMs,
    namespace: new URL(base).host === new URL(originOf(domain)).host ? undefined : domain,
    tls,
  };
}

async function ifThere<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}
