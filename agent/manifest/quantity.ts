// Kubernetes resource.Quantity: "100m", "1.5Gi", "2e3". Exact: an integer count of billionths, the finest that the format knows.

export interface Quantity {
  /** Value times 10^9. */
  readonly nano: bigint;
  /** The family of suffixes it was written with, kept when it is rendered again. */
  readonly format: 'BinarySI' | 'DecimalSI' | 'DecimalExponent';
}

const nanoPerUnit = 1_000_000_000n;
// Larger values are cut to this one (apimachinery's maxAllowed, 2^63-1 whole units).
const maxNano = (2n ** 63n - 1n) * nanoPerUnit;

const binaryPowers: Readonly<Record<string, bigint>> = { Ki: 10n, Mi: 20n, Gi: 30n, Ti: 40n, Pi: 50n, Ei: 60n };
const decimalPowers: Readonly<Record<string, number>> = { n: -9, u: -6, m: -3, '': 0, k: 3, M: 6, G: 9, T: 12, P: 15, E: 18 };

// "1E" is exa, "1E3" an exponent: the suffix is an exponent only when digits follow.
const syntax = /^([+-]?)(?:(\d+)(?:\.(\d*))?|\.(\d+))(?:([KMGTPE]i)|([eE][+-]?\d{1,3})|([numkMGTPE]?))$/;
const lengthLimit = 64;

/** Throws a sentence when the text is no quantity. Finer than a billionth is rounded away from zero, as in Kubernetes. */
export function parseQuantity(text: string): Quantity {
  const match = text.length <= lengthLimit ? syntax.exec(text) : null;
  if (!match) throw new Error(explain(text));
  const [, sign, whole = '', fractionAfterWhole, bareFraction, binary, exponent, decimal = ''] = match;
  const fraction = fractionAfterWhole ?? bareFraction ?? '';
  const digits = BigInt(`${whole}${fraction}` || '0');
  const scale = 9 - fraction.length + (exponent ? Number(exponent.slice(1)) : (decimalPowers[decimal] ?? 0));
  const scaled = binary ? digits * (1n << (binaryPowers[binary] ?? 0n)) : digits;
  const nano = scale >= 0 ? scaled * 10n ** BigInt(scale) : divideUp(scaled, 10n ** BigInt(-scale));
  const cut = nano > maxNano ? maxNano : nano;
  return { nano: sign === '-' ? -cut : cut, format: binary ? 'BinarySI' : exponent ? 'DecimalExponent' : 'DecimalSI' };
}

export function isQuantity(text: string): boolean {
  return text.length <= lengthLimit && syntax.test(text);
}

function explain(text: string): string {
  const shown = JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
  const suffix = /^[+-]?[\d.]+\s*([A-Za-z]+)$/.exec(text)?.[1] ?? '';
  const known = [...Object.keys(binaryPowers), ...Object.keys(decimalPowers)].filter((name) => name !== '');
  const bare = suffix.replace(/b$/i, '');
  const meant = known.find((name) => name === bare) ?? known.find((name) => name.toLowerCase() === bare.toLowerCase());
  const hint = meant
    ? `; did you mean ${JSON.stringify(text.replace(/\s*[A-Za-z]+$/, meant))}?`
    : '; write a number such as 2, 0.5, 500m, 128Mi or 1Gi';
  return `${shown} is not a quantity${hint}`;
}

function divideUp(value: bigint, by: bigint): bigint {
  return (value + by - 1n) / by;
}

/** Away from zero. */
function roundTo(nano: bigint, unit: bigint): bigint {
  return nano < 0n ? -divideUp(-nano, unit) : divideUp(nano, unit);
}

/** Whole units, rounded up: bytes of memory, count of devices. */
export function toBytes(quantity: Quantity | string): bigint {
  return roundTo(nanoOf(quantity), nanoPerUnit);
}

/** Thousandths of a CPU, rounded up. */
export function toMilliCpu(quantity: Quantity | string): bigint {
  return roundTo(nanoOf(quantity), nanoPerUnit / 1000n);
}

/** Negative when a < b, 0 when they are equal. */
export function compareQuantities(a: Quantity | string, b: Quantity | string): number {
  const difference = nanoOf(a) - nanoOf(b);
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}

function nanoOf(quantity: Quantity | string): bigint {
  return (typeof quantity === 'string' ? parseQuantity(quantity) : quantity).nano;
}

/** The canonical form: no fraction, the largest suffix that loses nothing. */
export function renderQuantity({ nano, format }: Quantity): string {
  if (nano === 0n) return '0';
  const magnitude = nano < 0n ? -nano : nano;
  const sign = nano < 0n ? '-' : '';
  const units = magnitude / nanoPerUnit;
  // Below 1024, and where it is no whole number, the binary suffixes cannot say it.
  if (format === 'BinarySI' && magnitude % nanoPerUnit === 0n && units >= 1024n) return sign + renderBinary(units);
  let mantissa = magnitude;
  let power = -9;
  while (power < 18 && mantissa % 1000n === 0n) {
    mantissa /= 1000n;
    power += 3;
  }
  if (format === 'DecimalExponent') return `${sign}${mantissa}${power === 0 ? '' : `e${power}`}`;
  const suffix = Object.keys(decimalPowers).find((name) => decimalPowers[name] === power) ?? '';
  return `${sign}${mantissa}${suffix}`;
}

function renderBinary(units: bigint): string {
  const fitting = Object.entries(binaryPowers).filter(([, power]) => units % (1n << power) === 0n);
  const [suffix, power] = fitting.at(-1) ?? ['', 0n];
  return `${units >> power}${suffix}`;
}
