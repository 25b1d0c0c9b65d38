// The shape of what answers CRI calls, and what stands in where nothing does.
import type { CriMethods, Method, RequestOf, ResponseOf } from '../../cri-proto/service.ts';
import { unimplemented } from '../errors.ts';
import { streamOfList } from './list-streams.ts';

export interface CallContext {
  /** Aborted when the client cancels, its deadline passes, or the server closes; the reason is a CriError. Not aborted by a normal end. */
  readonly signal: AbortSignal;
  /** The client's address as grpc-js knows it: "unknown" on a unix socket. */
  readonly peer: string;
}

export type Handler<M> = M extends { requestType: unknown; responseType: unknown; responseStream: infer Streams }
  ? (request: RequestOf<M>, context: CallContext) => Streams extends true ? AsyncIterable<ResponseOf<M>> : Promise<ResponseOf<M>>
  : never;

/** Handlers by camel-case method name, all services' in one object. A Stream… list method needs none where its List… method has one. */
export type CriHandlers = { readonly [Name in keyof CriMethods]?: Handler<CriMethods[Name]> };

export type UntypedUnary = (request: unknown, context: CallContext) => Promise<unknown>;
export type UntypedStream = (request: unknown, context: CallContext) => AsyncIterable<unknown>;

/** The handler of a unary method, or one that answers UNIMPLEMENTED. */
export function unaryHandler(handlers: CriHandlers, key: string, method: Method): UntypedUnary {
  const own = handlers[key as keyof CriHandlers] as UntypedUnary | undefined;
  return own ?? (async () => Promise.reject(missing(method)));
}

/** The handler of a streaming method: its own, else one made from the List… handler, else one that answers UNIMPLEMENTED. */
export function streamHandler(handlers: CriHandlers, key: string, method: Method): UntypedStream {
  const own = handlers[key as keyof CriHandlers] as UntypedStream | undefined;
  return (
    own ??
    streamOfList(handlers, key) ??
    // biome-ignore lint/correctness/useYield: a stream that fails before its first message
    async function* () {
      throw missing(method);
    }
  );
}

function missing(method: Method): Error {
  return unimplemented(`${method.name} is not implemented by this version of tskubelet`);
}
