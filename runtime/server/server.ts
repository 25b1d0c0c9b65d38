// Serves the CRI services and our own on a unix socket. It knows transport, deadlines and errors; what a call does is its handler's.
import { Server, ServerCredentials, type ServerUnaryCall, type ServerWritableStream, type sendUnaryData } from '@grpc/grpc-js';
import { grpcMethod, type Method, services } from '../../cri-proto/service.ts';
import { codeOf, unavailable } from '../errors.ts';
import type { Logger } from '../logger.ts';
import { Calls } from './calls.ts';
import { type CriHandlers, streamHandler, unaryHandler } from './handlers.ts';
import { listenOn } from './socket.ts';
import { grpcStatus } from './status.ts';

export interface CriServerOptions {
  readonly socketPath: string;
  readonly handlers: CriHandlers;
  readonly logger: Logger;
  /** Of the socket's file; default 0o660. */
  readonly mode?: number;
  /** How long close() lets unary calls go on; default 5000. */
  readonly closeTimeoutMs?: number;
}

export interface CriServer {
  /** Ends streams with UNAVAILABLE, lets unary calls finish within the timeout, then aborts their signals and cuts what is left. */
  close(): Promise<void>;
}

// Clients receive 16 MiB at most (cri-client); an ExecSync answer may hold 16 MiB each of stdout and stderr.
const MAX_MESSAGE_BYTES = 80 << 20;
// From an aborted signal to the cut connection: enough for a handler to return and its status to leave.
const ABORT_GRACE_MS = 250;

/** Everything that answering one method needs. */
interface Answering {
  readonly method: Method;
  readonly calls: Calls;
  readonly logger: Logger;
}

/** Rejects with one sentence when another process serves the socket. */
export async function startCriServer(options: CriServerOptions): Promise<CriServer> {
  const { socketPath, handlers, logger, mode = 0o660, closeTimeoutMs = 5000 } = options;
  const server = new Server({
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
    'grpc.enable_channelz': 0,
  });
  const calls = new Calls();
  for (const service of services) {
    const answers = Object.entries(service.methods).map(([key, method]) => ({
      key,
      definition: grpcMethod(service, method),
      answer: method.responseStream
        ? answerStream(handlers, key, { method, calls, logger })
        : answerUnary(handlers, key, { method, calls, logger }),
    }));
    server.addService(
      Object.fromEntries(answers.map(({ key, definition }) => [key, definition])),
      Object.fromEntries(answers.map(({ key, answer }) => [key, answer])),
    );
  }
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const socket = await listenOn(socketPath, mode, (connection) => injector.injectConnection(connection));
  return {
    async close() {
      await socket.close();
      calls.abort(unavailable('the runtime is shutting down'), 'stream');
      const finished = Promise.all([calls.idle(), new Promise<void>((resolve) => server.tryShutdown(() => resolve()))]);
      await atMost(closeTimeoutMs, finished);
      calls.abort(unavailable('the runtime is shutting down'));
      await atMost(ABORT_GRACE_MS, finished);
      socket.cut();
    },
  };
}

function answerUnary(handlers: CriHandlers, key: string, { method, calls, logger }: Answering) {
  const handler = unaryHandler(handlers, key, method);
  return async (call: ServerUnaryCall<unknown, unknown>, respond: sendUnaryData<unknown>) => {
    const { context, done } = calls.open(call, 'unary');
    try {
      const response = await handler(call.request, context);
      done();
      respond(null, response);
    } catch (error) {
      done();
      report(error, method, logger);
      respond(grpcStatus(error));
    }
  };
}

function answerStream(handlers: CriHandlers, key: string, { method, calls, logger }: Answering) {
  const handler = streamHandler(handlers, key, method);
  return async (call: ServerWritableStream<unknown, unknown>) => {
    const { context, done } = calls.open(call, 'stream');
    try {
      for await (const message of handler(call.request, context)) {
        context.signal.throwIfAborted();
        if (!call.write(message)) await drained(call, context.signal);
      }
      context.signal.throwIfAborted();
      done();
      call.end();
    } catch (error) {
      done();
      report(error, method, logger);
      // grpc-js ends the call with the status that its error event carries.
      if (!call.destroyed) call.emit('error', grpcStatus(error));
    }
  };
}

/** Waits until the client has taken what was written, so that a slow reader bounds a fast handler. */
function drained(call: ServerWritableStream<unknown, unknown>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) return abort();
    signal.addEventListener('abort', abort, { once: true });
    call.once('drain', () => {
      signal.removeEventListener('abort', abort);
      resolve();
    });
  });
}

/** The client gets the sentence, and tells it; a mistake of ours is a surprise, and its stack is for our log alone. */
function report(error: unknown, method: Method, logger: Logger): void {
  const code = codeOf(error);
  const { details } = grpcStatus(error);
  if (isMistake(error)) logger.warn({ method: method.name, stack: error.stack }, details);
  else logger.debug({ method: method.name, code }, details);
}

function isMistake(error: unknown): error is Error {
  return error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError;
}

async function atMost(timeoutMs: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([
    work,
    new Promise<void>((resolve) => {
      timer = setTimeout(resolve, timeoutMs);
    }),
  ]);
  clearTimeout(timer);
}
