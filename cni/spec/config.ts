// Owns reading a plugin's network configuration: fields with their types, and what is wrong with one as a sentence. Pure.
import { type Cidr, type IpAddress, parseCidr, parseIp } from '../ip.ts';
import { CniError, DECODING_FAILURE, INCOMPATIBLE_VERSION, invalidConfig, UNSUPPORTED_FIELD } from './error.ts';
import { isVersion, NEWEST, parseResult, type Result, VERSIONS, type Version } from './result.ts';

export type Fields = Readonly<Record<string, unknown>>;

/** A plugin's configuration as it came, and what every plugin knows of it. */
export interface NetworkConfig {
  readonly cniVersion: Version;
  readonly name: string;
  readonly type: string;
  readonly prevResult: Result | undefined;
  /** What the runtime was told for this container, by capability. */
  readonly runtimeConfig: Fields;
  readonly fields: Fields;
}

export function objectOf(value: unknown, what: string): Fields {
  if (value === undefined || value === null) return {};
  if (typeof value !== 'object' || Array.isArray(value)) throw invalidConfig(`${what} is no object`);
  return value as Fields;
}

// CNI spec 1.1, section 1: what a network may be called.
const NETWORK_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

export function checkNetworkName(name: unknown): string {
  if (typeof name !== 'string' || !NETWORK_NAME.test(name))
    throw invalidConfig(`network name ${JSON.stringify(name ?? '')}: expected letters, digits, "_", "." and "-"`);
  return name;
}

export function checkVersion(version: unknown): Version {
  // The specification's default, from before the field was mandatory.
  const text = version === undefined || version === '' ? '0.1.0' : version;
  if (typeof text === 'string' && isVersion(text)) return text;
  throw new CniError(INCOMPATIBLE_VERSION, `CNI version ${JSON.stringify(text)} is not supported: known are ${VERSIONS.join(', ')}`);
}

/** Keys begin in lower case, whatever case they came in: runtimes written in Go, whose JSON knows none, send "HostPort" too. */
function lowerKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(lowerKeys);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key.slice(0, 1).toLowerCase() + key.slice(1), lowerKeys(one)]));
}

export function parseConfig(value: unknown): NetworkConfig {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new CniError(DECODING_FAILURE, 'a network configuration is no JSON object');
  const fields = value as Fields;
  const { type = '', prevResult } = fields;
  return {
    cniVersion: checkVersion(fields.cniVersion),
    name: checkNetworkName(fields.name),
    type: typeof type === 'string' ? type : '',
    prevResult: prevResult === undefined || prevResult === null ? undefined : parseResult(prevResult),
    runtimeConfig: objectOf(lowerKeys(fields.runtimeConfig), 'runtimeConfig'),
    fields,
  };
}

/** The version to answer in when the configuration itself cannot be understood. */
export function versionOf(value: unknown): Version {
  const version = typeof value === 'object' && value !== null ? (value as Fields).cniVersion : undefined;
  return typeof version === 'string' && isVersion(version) ? version : NEWEST;
}

export function booleanField(fields: Fields, name: string, fallback = false): boolean {
  const value = fields[name];
  if (value === undefined || value === null) return fallback;
  if (typeof value !== 'boolean') throw invalidConfig(`${name} ${JSON.stringify(value)}: expected true or false`);
  return value;
}

export function textField(fields: Fields, name: string, fallback: string): string;
export function textField(fields: Fields, name: string): string | undefined;
export function textField(fields: Fields, name: string, fallback?: string): string | undefined {
  const value = fields[name];
  if (value === undefined || value === null || value === '') return fallback;
  if (typeof value !== 'string') throw invalidConfig(`${name} ${JSON.stringify(value)}: expected text`);
  return value;
}

/** A whole number; 0 is how the field's other programs say "not given". */
export function numberField(fields: Fields, name: string, { min = 0, max = Number.MAX_SAFE_INTEGER } = {}): number | undefined {
  const value = fields[name];
  if (value === undefined || value === null || value === 0) return undefined;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max)
    throw invalidConfig(`${name} ${JSON.stringify(value)}: expected a whole number from ${min} to ${max}`);
  return value;
}

export function listField(fields: Fields, name: string): readonly unknown[] {
  const value = fields[name];
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw invalidConfig(`${name}: expected a list`);
  return value;
}

export function parsed<T>(what: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw invalidConfig(`${what}: ${(error as Error).message}`);
  }
}

export const cidrField = (value: unknown, what: string): Cidr => parsed(what, () => parseCidr(String(value)));
export const ipField = (value: unknown, what: string): IpAddress => parsed(what, () => parseIp(String(value)));

/** Refuses options that other implementations have and this one would ignore in silence. */
export function refuse(fields: Fields, ...names: readonly string[]): void {
  for (const name of names) {
    const value = fields[name];
    const empty = value === undefined || value === null || value === false || value === '' || (Array.isArray(value) && value.length === 0);
    if (!empty) throw new CniError(UNSUPPORTED_FIELD, `${String(fields.type)} has no option ${name}: leave it out`);
  }
}
