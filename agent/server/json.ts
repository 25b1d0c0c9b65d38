// Owns JSON as the Kubernetes API writes it: times in whole seconds, 64-bit integers as numbers.

/** RFC 3339 in UTC without fractions, as metav1.Time. */
export function renderTime(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`;
}

export function renderJson(value: unknown): string {
  return JSON.stringify(convert(value));
}

// Not a replacer: JSON.stringify calls toJSON before it asks one, so no replacer ever sees a Date.
function convert(value: unknown): unknown {
  if (value instanceof Date) return renderTime(value);
  if (typeof value === 'bigint') return Number(value);
  if (Array.isArray(value)) return value.map(convert);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, convert(field)]));
}
