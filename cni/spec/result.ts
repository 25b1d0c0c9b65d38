// Owns the result of a CNI plugin: its shape in memory, which is that of 1.1, and what it looks like in older versions. Pure.
import { CniError, DECODING_FAILURE, INCOMPATIBLE_VERSION } from './error.ts';

/** Oldest first. */
export const VERSIONS = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type Version = (typeof VERSIONS)[number];
export const NEWEST: Version = '1.1.0';

export function isVersion(text: string): text is Version {
  return (VERSIONS as readonly string[]).includes(text);
}

export function atLeast(version: Version, floor: Version): boolean {
  return VERSIONS.indexOf(version) >= VERSIONS.indexOf(floor);
}

export interface ResultInterface {
  readonly name: string;
  readonly mac?: string;
  readonly mtu?: number;
  /** Path of the network namespace; absent: the host's. */
  readonly sandbox?: string;
  readonly socketPath?: string;
  readonly pciID?: string;
}

export interface ResultIp {
  /** CIDR notation: the address and the length of its network's prefix. */
  readonly address: string;
  readonly gateway?: string;
  /** Index into the interfaces. */
  readonly interface?: number;
}

export interface ResultRoute {
  readonly dst: string;
  readonly gw?: string;
  readonly mtu?: number;
  readonly advmss?: number;
  readonly priority?: number;
  readonly table?: number;
  readonly scope?: number;
}

export interface Dns {
  readonly nameservers?: readonly string[];
  readonly domain?: string;
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

export interface Result {
  readonly interfaces: readonly ResultInterface[];
  readonly ips: readonly ResultIp[];
  readonly routes: readonly ResultRoute[];
  readonly dns: Dns;
}

export const EMPTY_RESULT: Result = { interfaces: [], ips: [], routes: [], dns: {} };

/** As JSON of that version. */
export function renderResult({ interfaces, ips, routes, dns }: Result, cniVersion: Version): Record<string, unknown> {
  const one = atLeast(cniVersion, '1.0.0');
  const newest = atLeast(cniVersion, '1.1.0');
  return {
    cniVersion,
    interfaces: interfaces.map(({ name, mac, sandbox, mtu, socketPath, pciID }) => ({
      name,
      ...(mac === undefined ? {} : { mac }),
      ...(sandbox === undefined ? {} : { sandbox }),
      ...(newest && mtu !== undefined ? { mtu } : {}),
      ...(newest && socketPath !== undefined ? { socketPath } : {}),
      ...(newest && pciID !== undefined ? { pciID } : {}),
    })),
    ips: ips.map((ip) => (one ? ip : { version: ip.address.includes(':') ? '6' : '4', ...ip })),
    routes: routes.map(({ dst, gw, ...more }) => ({ dst, ...(gw === undefined ? {} : { gw }), ...(newest ? more : {}) })),
    dns,
  };
}

function listOf<T>(value: unknown, what: string, parse: (item: Record<string, unknown>) => T): T[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new CniError(DECODING_FAILURE, `${what} of a result is no list`);
  return value.map((item: unknown) => {
    if (typeof item !== 'object' || item === null)
      throw new CniError(DECODING_FAILURE, `${what} of a result holds ${JSON.stringify(item)}`);
    return parse(item as Record<string, unknown>);
  });
}

const text = <K extends string>(key: K, value: unknown): { [key in K]?: string } =>
  (typeof value === 'string' && value !== '' ? { [key]: value } : {}) as { [key in K]?: string };
const number = <K extends string>(key: K, value: unknown): { [key in K]?: number } =>
  (typeof value === 'number' ? { [key]: value } : {}) as { [key in K]?: number };
const texts = (value: unknown): string[] => (Array.isArray(value) ? value.filter((one): one is string => typeof one === 'string') : []);

function required(item: Record<string, unknown>, key: string, what: string): string {
  const value = item[key];
  if (typeof value !== 'string') throw new CniError(DECODING_FAILURE, `${what} of a result has no ${key}`);
  return value;
}

export function parseDns(value: unknown): Dns {
  if (typeof value !== 'object' || value === null) return {};
  const { nameservers, domain, search, options } = value as Record<string, unknown>;
  const list = <K extends string>(key: K, items: unknown) => (texts(items).length > 0 ? { [key]: texts(items) } : {});
  return { ...list('nameservers', nameservers), ...text('domain', domain), ...list('search', search), ...list('options', options) };
}

export function parseRoutes(value: unknown): ResultRoute[] {
  return listOf(value, 'routes', (item) => ({
    dst: required(item, 'dst', 'a route'),
    ...text('gw', item.gw),
    ...number('mtu', item.mtu),
    ...number('advmss', item.advmss),
    ...number('priority', item.priority),
    ...number('table', item.table),
    ...number('scope', item.scope),
  }));
}

/** A result of any version that is known. */
export function parseResult(value: unknown): Result {
  if (typeof value !== 'object' || value === null) throw new CniError(DECODING_FAILURE, 'a result is no object');
  const { cniVersion = '0.3.1', interfaces, ips, routes, dns } = value as Record<string, unknown>;
  if (typeof cniVersion !== 'string' || !isVersion(cniVersion))
    throw new CniError(INCOMPATIBLE_VERSION, `a result has CNI version ${JSON.stringify(cniVersion)}: known are ${VERSIONS.join(', ')}`);
  return {
    interfaces: listOf(interfaces, 'interfaces', (item) => ({
      name: required(item, 'name', 'an interface'),
      ...text('mac', item.mac),
      ...number('mtu', item.mtu),
      ...text('sandbox', item.sandbox),
      ...text('socketPath', item.socketPath),
      ...text('pciID', item.pciID),
    })),
    ips: listOf(ips, 'ips', (item) => ({
      address: required(item, 'address', 'an address'),
      ...text('gateway', item.gateway),
      ...number('interface', item.interface),
    })),
    routes: parseRoutes(routes),
    dns: parseDns(dns),
  };
}
