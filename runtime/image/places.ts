// Owns a bound on what goes on at the same time, by name: first asked, first served.

export interface Places {
  /** Waits for a place of `name` and gives the way to leave it. */
  take(name: string, signal: AbortSignal): Promise<() => void>;
}

export function createPlaces(limit: number): Places {
  const queues = new Map<string, { taken: number; waiting: (() => void)[] }>();
  return {
    take: async (name, signal) => {
      signal.throwIfAborted();
      const queue = queues.get(name) ?? { taken: 0, waiting: [] };
      queues.set(name, queue);
      if (queue.taken < limit) queue.taken++;
      else {
        // Who leaves hands the place on.
        const { promise, resolve, reject } = Promise.withResolvers<void>();
        const stop = () => {
          queue.waiting = queue.waiting.filter((each) => each !== resolve);
          reject(signal.reason);
        };
        queue.waiting.push(resolve);
        signal.addEventListener('abort', stop, { once: true });
        await promise.finally(() => signal.removeEventListener('abort', stop));
      }
      return () => {
        const next = queue.waiting.shift();
        if (next !== undefined) next();
        else if (--queue.taken === 0) queues.delete(name);
      };
    },
  };
}
