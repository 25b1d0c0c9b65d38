// Tokens of the streaming URLs: whoever asked the CRI socket for one may use it once, soon.
import { randomBytes } from 'node:crypto';
import { resourceExhausted } from '../errors.ts';

const LIFETIME_MS = 60_000;
const MAX_WAITING = 1000;

export interface Tokens<T> {
  /** Throws RESOURCE_EXHAUSTED when too many wait to be used. */
  issue(request: T): string;
  /** Undefined: never issued, used already, or too late. */
  take(token: string): T | undefined;
  readonly size: number;
  clear(): void;
}

export function createTokens<T>(now: () => number = Date.now): Tokens<T> {
  // In the order of their issue, so of their end too.
  const waiting = new Map<string, { readonly request: T; readonly endMs: number }>();
  const expire = () => {
    for (const [token, { endMs }] of waiting) {
      if (endMs > now()) return;
      waiting.delete(token);
    }
  };
  return {
    issue(request) {
      expire();
      if (waiting.size >= MAX_WAITING) throw resourceExhausted(`${MAX_WAITING} streaming URLs wait to be used: use or drop some first`);
      const token = randomBytes(24).toString('base64url');
      waiting.set(token, { request, endMs: now() + LIFETIME_MS });
      return token;
    },
    take(token) {
      expire();
      const found = waiting.get(token);
      waiting.delete(token);
      return found?.request;
    },
    get size() {
      expire();
      return waiting.size;
    },
    clear: () => waiting.clear(),
  };
}
