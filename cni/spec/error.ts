// Owns the errors of the CNI specification: a code, a sentence, details; as JSON on a plugin's standard output.

export const INCOMPATIBLE_VERSION = 1;
export const UNSUPPORTED_FIELD = 2;
export const UNKNOWN_CONTAINER = 3;
export const INVALID_ENVIRONMENT = 4;
export const IO_FAILURE = 5;
export const DECODING_FAILURE = 6;
export const INVALID_CONFIG = 7;
export const TRY_AGAIN_LATER = 11;
/** STATUS: no ADD can be served. */
export const NOT_AVAILABLE = 50;
/** Codes from 100 on are a plugin's own. Ours: what could not be made, and what CHECK did not find as it was left. */
export const PLUGIN_FAILURE = 100;
export const CHECK_FAILURE = 101;

export class CniError extends Error {
  readonly code: number;
  readonly details: string;

  constructor(code: number, message: string, options: { readonly details?: string; readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = 'CniError';
    this.code = code;
    this.details = options.details ?? '';
  }
}

export const invalidConfig = (message: string): CniError => new CniError(INVALID_CONFIG, message);
export const checkFailure = (message: string): CniError => new CniError(CHECK_FAILURE, message);

/** The sentence of an error and of everything that caused it. */
function sentence(error: unknown): string {
  const parts: string[] = [];
  for (let one: unknown = error; one !== undefined; one = one instanceof Error ? one.cause : undefined)
    parts.push(one instanceof Error ? one.message : String(one));
  return parts.join(': ');
}

export function renderError(error: unknown, cniVersion: string): Record<string, unknown> {
  const coded = error instanceof CniError ? error : undefined;
  return {
    cniVersion,
    code: coded?.code ?? PLUGIN_FAILURE,
    msg: sentence(error),
    ...(coded?.details ? { details: coded.details } : {}),
  };
}

/** The error that a foreign plugin wrote; undefined when that is none. */
export function parseError(value: unknown): CniError | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { code, msg, details } = value as { code?: unknown; msg?: unknown; details?: unknown };
  if (typeof code !== 'number' || code === 0) return undefined;
  return new CniError(code, typeof msg === 'string' ? msg : `error ${code}`, typeof details === 'string' ? { details } : {});
}
