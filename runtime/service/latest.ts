// Owns the way from callbacks to a stream whose reader may be slow: only the newest value counts, so nothing piles up.

export interface Latest<T> {
  readonly set: (value: T) => void;
  /** The stream ends after the last value. */
  readonly end: () => void;
  readonly values: AsyncIterable<T>;
}

export function createLatest<T>(): Latest<T> {
  let value: { readonly value: T } | undefined;
  let ended = false;
  let rouse: (() => void) | undefined;

  async function* read(): AsyncGenerator<T> {
    for (;;) {
      const next = value;
      value = undefined;
      if (next !== undefined) yield next.value;
      else if (ended) return;
      else
        await new Promise<void>((resolve) => {
          rouse = resolve;
        });
    }
  }

  return {
    set: (next) => {
      value = { value: next };
      rouse?.();
    },
    end: () => {
      ended = true;
      rouse?.();
    },
    values: read(),
  };
}
