// Owns how a CRI message looks in verbose info: as Go's encoding/json prints the generated structs, since that is what containerd shows and
// scripts look for. Names in snake case, enums as numbers, fields with their zero value left out.

/** Fields of map type: their keys are the client's own words. */
const MAPS = new Set(['labels', 'annotations', 'sysctls', 'unified']);
/** What generated messages keep for round trips says nothing to a reader. */
const UNKNOWN_FIELDS = '_unknownFields';

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function isZero(value: unknown): boolean {
  if (value === undefined || value === null || value === '' || value === 0 || value === 0n || value === false) return true;
  if (Array.isArray(value)) return value.length === 0;
  return false;
}

function toJson(value: unknown): Json {
  if (typeof value === 'bigint') return Number(value);
  // An environment value is a string to Go, whatever its bytes.
  if (value instanceof Uint8Array) return Buffer.from(value).toString();
  if (Array.isArray(value)) return value.map(toJson);
  if (typeof value === 'object' && value !== null) return protoJson(value);
  return value as Json;
}

export function protoJson(message: object): { [key: string]: Json } {
  const fields = Object.entries(message).filter(([name, value]) => name !== UNKNOWN_FIELDS && !isZero(value));
  return Object.fromEntries(
    fields.flatMap(([name, value]): [string, Json][] => {
      if (!MAPS.has(name)) return [[snakeCase(name), toJson(value)]];
      return Object.keys(value).length === 0 ? [] : [[name, { ...(value as Record<string, string>) }]];
    }),
  );
}
