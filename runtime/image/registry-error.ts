// Owns the errors of talking to a registry: a sentence, and the HTTP status that callers branch on.

export interface RegistryErrorOptions {
  readonly status?: number | undefined;
  readonly code?: string;
  readonly cause?: unknown;
  /** Where the status does not say whether asking again may help. */
  readonly transient?: boolean;
  /** How long the registry wants to be left alone (Retry-After). */
  readonly retryAfterMs?: number | undefined;
}

export class RegistryError extends Error {
  override readonly name = 'RegistryError';
  /** HTTP status; undefined when the registry did not answer at all. */
  readonly status: number | undefined;
  /** The distribution spec's code, such as MANIFEST_UNKNOWN; "" when the registry gave none. */
  readonly code: string;
  readonly retryAfterMs: number | undefined;
  /** True when asking again later may help: no answer, too many requests, the registry's own failures. */
  readonly isTransient: boolean;

  constructor(message: string, { status, code = '', cause, transient, retryAfterMs }: RegistryErrorOptions = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.status = status;
    this.code = code;
    this.retryAfterMs = retryAfterMs;
    this.isTransient = transient ?? (status === undefined || status === 408 || status === 429 || status >= 500);
  }
}

/** The first error of an answer's body: {"errors":[{"code","message"}]} (distribution spec, "Error Codes"). */
export function parseErrorBody(body: string): { code: string; message: string } {
  try {
    const { errors } = JSON.parse(body) as { errors?: { code?: unknown; message?: unknown }[] };
    const first = errors?.[0];
    // It goes into sentences on terminals: a line of its own words, and nothing else.
    const text = (value: unknown) =>
      typeof value === 'string'
        ? value
            .slice(0, 200)
            .replace(/\p{Cc}+/gu, ' ')
            .trim()
            .replace(/\.$/, '')
        : '';
    return { code: text(first?.code), message: text(first?.message) };
  } catch {
    return { code: '', message: '' };
  }
}

/** Retry-After in milliseconds from now: seconds or a date (RFC 9110, 10.2.3). */
export function parseRetryAfter(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined) return undefined;
  if (/^\s*\d+\s*$/.test(header)) return Number(header) * 1000;
  const at = Date.parse(header);
  return Number.isNaN(at) ? undefined : Math.max(0, at - nowMs);
}

/** What to do about a status, where the status says it. */
export function adviceFor(status: number, purpose: 'pull' | 'push' = 'pull'): string {
  if ((status === 401 || status === 403) && purpose === 'push') return 'give credentials that may push there (image push --creds)';
  if (status === 404 && purpose === 'push') return 'check that this registry takes pushes';
  if (status === 401 || status === 403)
    return "give credentials that may pull it (docker's config.json, image pull --creds, a kubelet's imagePullSecrets), and check that its name is right";
  if (status === 404) return 'check its name and tag';
  if (status === 429) return 'the registry limits how much may be pulled; give credentials or try later';
  if (status >= 500) return 'the registry has a problem of its own; try later';
  return 'check that this is a container registry';
}
