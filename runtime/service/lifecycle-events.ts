// Owns CRI's GetContainerEvents: every subscriber sees every event, in order; a subscriber that does not read is cut off at a bound.
import type { ContainerEventResponse } from '../../cri-proto/gen/api.ts';
import { resourceExhausted } from '../errors.ts';

const MAX_QUEUED = 4096;

interface Subscriber {
  readonly queue: ContainerEventResponse[];
  wake: () => void;
  overrun: boolean;
}

export interface LifecycleEvents {
  publish(event: ContainerEventResponse): void;
  /** Ends when `signal` aborts; fails when the subscriber fell 4096 events behind. */
  subscribe(signal: AbortSignal): AsyncIterable<ContainerEventResponse>;
}

export function createLifecycleEvents(): LifecycleEvents {
  const subscribers = new Set<Subscriber>();
  return {
    publish(event) {
      for (const subscriber of subscribers) {
        if (subscriber.queue.length < MAX_QUEUED) subscriber.queue.push(event);
        else subscriber.overrun = true;
        subscriber.wake();
      }
    },
    async *subscribe(signal) {
      const subscriber: Subscriber = { queue: [], wake: () => undefined, overrun: false };
      subscribers.add(subscriber);
      const wake = () => subscriber.wake();
      signal.addEventListener('abort', wake);
      try {
        while (!signal.aborted) {
          const event = subscriber.queue.shift();
          if (event !== undefined) yield event;
          else if (subscriber.overrun)
            throw resourceExhausted(`the event subscriber fell ${MAX_QUEUED} events behind: subscribe again and list`);
          else
            await new Promise<void>((resolve) => {
              subscriber.wake = resolve;
            });
        }
      } finally {
        signal.removeEventListener('abort', wake);
        subscribers.delete(subscriber);
      }
    },
  };
}
