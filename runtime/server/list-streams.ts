// Streaming lists (KEP-5825): the List… handler's answer in batches, each item once, then the end of the stream.
// They exist because a list of many items outgrows a client's 16 MiB message limit.
import type { CriHandlers, UntypedStream, UntypedUnary } from './handlers.ts';

interface ListStream {
  readonly list: keyof CriHandlers;
  readonly from: string;
  readonly to: string;
}

/** Request messages have the same fields; the items' field has two names. */
const LIST_STREAMS: { readonly [key: string]: ListStream } = {
  streamPodSandboxes: { list: 'listPodSandbox', from: 'items', to: 'podSandboxes' },
  streamContainers: { list: 'listContainers', from: 'containers', to: 'containers' },
  streamContainerStats: { list: 'listContainerStats', from: 'stats', to: 'containerStats' },
  streamPodSandboxStats: { list: 'listPodSandboxStats', from: 'stats', to: 'podSandboxStats' },
  streamPodSandboxMetrics: { list: 'listPodSandboxMetrics', from: 'podMetrics', to: 'podSandboxMetrics' },
  streamImages: { list: 'listImages', from: 'images', to: 'images' },
};

const BATCH_ITEMS = 64;

/** Nothing where the method is not a streaming list or its List… method has no handler. An empty list is an empty stream. */
export function streamOfList(handlers: CriHandlers, key: string): UntypedStream | undefined {
  const stream = LIST_STREAMS[key];
  const list = stream && (handlers[stream.list] as UntypedUnary | undefined);
  if (!stream || !list) return undefined;
  return async function* (request, context) {
    const response = (await list(request, context)) as { [field: string]: readonly unknown[] };
    const items = response[stream.from] ?? [];
    for (let at = 0; at < items.length; at += BATCH_ITEMS) yield { [stream.to]: items.slice(at, at + BATCH_ITEMS) };
  };
}
