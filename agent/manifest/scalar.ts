// What a plain YAML scalar means: the reading that kubectl gives it, so that a manifest that works there works here.
// kubectl reads YAML through go-yaml v2: YAML 1.1's words for booleans and its octal, but neither base 60 nor dates.

export type Scalar = string | number | boolean | null;

const words = new Map<string, Scalar>([
  ...['', '~', 'null', 'Null', 'NULL'].map((word) => [word, null] as const),
  ...['true', 'True', 'TRUE', 'y', 'Y', 'yes', 'Yes', 'YES', 'on', 'On', 'ON'].map((word) => [word, true] as const),
  ...['false', 'False', 'FALSE', 'n', 'N', 'no', 'No', 'NO', 'off', 'Off', 'OFF'].map((word) => [word, false] as const),
  ...['.nan', '.NaN', '.NAN'].map((word) => [word, Number.NaN] as const),
  ...['.inf', '.Inf', '.INF', '+.inf', '+.Inf', '+.INF'].map((word) => [word, Number.POSITIVE_INFINITY] as const),
  ...['-.inf', '-.Inf', '-.INF'].map((word) => [word, Number.NEGATIVE_INFINITY] as const),
]);

// 0644 is octal, 0o644 too; 0899 is no octal number and so falls through to the decimal fraction, as in Go.
const integer = /^([-+]?)(0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|0[0-7]*|[1-9][0-9]*)$/;
const fraction = /^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$/;

/** An integer that a double cannot hold exactly. */
export interface TooLarge {
  readonly tooLarge: string;
}

/** The value of an unquoted scalar; quoted ones are strings and never come here. */
export function resolveScalar(source: string): Scalar | TooLarge {
  const word = words.get(source);
  if (word !== undefined) return word;
  if (!/^[-+.0-9]/.test(source)) return source;
  const plain = source.startsWith('.') ? source : source.replaceAll('_', '');
  const match = integer.exec(plain);
  if (match) {
    const value = bigintOf(match[2] ?? '') * (match[1] === '-' ? -1n : 1n);
    const exact = value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER);
    return exact ? Number(value) : { tooLarge: source };
  }
  if (!fraction.test(plain)) return source;
  const value = Number(plain);
  return Number.isFinite(value) ? value : source;
}

function bigintOf(digits: string): bigint {
  return BigInt(/^0[0-7]+$/.test(digits) ? `0o${digits.slice(1)}` : digits.toLowerCase());
}

/** The value of a scalar with an explicit tag such as `!!str`; undefined when it does not fit the tag. */
export function resolveTagged(source: string, tag: string): Scalar | TooLarge | undefined {
  if (tag === 'str') return source;
  const value = resolveScalar(source);
  switch (tag) {
    case 'null':
      return value === null ? value : undefined;
    case 'bool':
      return typeof value === 'boolean' ? value : undefined;
    case 'int':
      return Number.isInteger(value) || isTooLarge(value) ? value : undefined;
    case 'float':
      return typeof value === 'number' || isTooLarge(value) ? value : undefined;
    default:
      return undefined;
  }
}

export function isTooLarge(value: Scalar | TooLarge | undefined): value is TooLarge {
  return typeof value === 'object' && value !== null;
}
