// A promise client for any CRI runtime's socket, built from the service definitions: a method per RPC, streams as AsyncIterable.
// Agent and tests use it; it knows no method by name.
import { Client, type ClientOptions, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { ImageAdminDefinition } from './gen/admin.ts';
import { ImageServiceDefinition, RuntimeServiceDefinition } from './gen/api.ts';
import { grpcMethod, type Method, type PartialRequestOf, type ResponseOf, type Service } from './service.ts';

/** timeoutMs ends the call with DEADLINE_EXCEEDED on both sides; an aborted signal ends it with CANCELLED. */
export interface CallOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

type Call<M> = M extends { requestType: unknown; responseType: unknown; responseStream: infer Streams }
  ? (request?: PartialRequestOf<M>, options?: CallOptions) => Streams extends true ? AsyncIterable<ResponseOf<M>> : Promise<ResponseOf<M>>
  : never;

export type ServiceClient<S extends { methods: object }> = { readonly [Name in keyof S['methods']]: Call<S['methods'][Name]> };

export interface CriClient {
  readonly endpoint: string;
  readonly runtime: ServiceClient<RuntimeServiceDefinition>;
  readonly image: ServiceClient<ImageServiceDefinition>;
  /** Answered by tskubelet's own runtime; others say UNIMPLEMENTED. */
  readonly admin: ServiceClient<ImageAdminDefinition>;
  /** Resolves once the runtime accepts connections; rejects with code UNAVAILABLE after timeoutMs, or with the signal's reason. */
  waitReady(options: { readonly timeoutMs: number; readonly signal?: AbortSignal }): Promise<void>;
  close(): void;
}

/** A call that did not succeed: code is the gRPC status by name, message the runtime's own sentence. */
export class CriCallError extends Error {
  override readonly name = 'CriCallError';
  readonly code: string;
  readonly method: string;

  constructor(code: string, method: string, message: string) {
    super(message);
    this.code = code;
    this.method = method;
  }
}

export const MAX_MESSAGE_BYTES = 80 << 20;

const channelOptions: ClientOptions = {
  'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
  'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  // A restarted runtime is back within a second; grpc's own back-off would start there and reach two minutes.
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 3000,
  // The name resolver is asked again at most this often after a broken connection; a unix path always resolves to itself.
  'grpc.dns_min_time_between_resolutions_ms': 100,
  // Two clients of one endpoint in one process are two connections, so closing one leaves the other alone.
  'grpc.use_local_subchannel_pool': 1,
};

/** endpoint: "unix:///run/…/cri.sock" or a plain absolute path. Connects at the first call. */
export function connectCri(endpoint: string): CriClient {
  const target = endpoint.startsWith('/') ? `unix://${endpoint}` : endpoint;
  if (!/^unix:\/?\/?\/./.test(target)) throw new Error(`CRI endpoint "${endpoint}" is neither unix:///PATH nor an absolute path`);
  const channel = new Client(target, credentials.createInsecure(), channelOptions);
  return {
    endpoint: target,
    runtime: serviceClient<RuntimeServiceDefinition>(channel, target, RuntimeServiceDefinition),
    image: serviceClient<ImageServiceDefinition>(channel, target, ImageServiceDefinition),
    admin: serviceClient<ImageAdminDefinition>(channel, target, ImageAdminDefinition),
    waitReady: (options) => waitReady(channel, target, options),
    close: () => channel.close(),
  };
}

function serviceClient<S extends { methods: object }>(channel: Client, target: string, service: Service): ServiceClient<S> {
  const calls = Object.entries(service.methods).map(([key, method]) => [
    key,
    method.responseStream
      ? (request?: object, options: CallOptions = {}) => streamCall(channel, target, service, method, { request, options })
      : (request?: object, options: CallOptions = {}) => unaryCall(channel, target, service, method, { request, options }),
  ]);
  return Object.fromEntries(calls) as ServiceClient<S>;
}

interface Invocation {
  readonly request: object | undefined;
  readonly options: CallOptions;
}

function unaryCall(channel: Client, target: string, service: Service, method: Method, { request, options }: Invocation): Promise<unknown> {
  const { path, requestSerialize, responseDeserialize } = grpcMethod(service, method);
  return new Promise((resolve, reject) => {
    if (options.signal?.aborted) return reject(new CriCallError('CANCELLED', method.name, `${method.name} was cancelled`));
    const call = channel.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      method.requestType.create(request ?? {}),
      new Metadata(),
      deadlineOf(options),
      (error, response) => {
        options.signal?.removeEventListener('abort', cancel);
        if (error) reject(callError(error, method, target));
        else resolve(response);
      },
    );
    const cancel = () => call.cancel();
    options.signal?.addEventListener('abort', cancel, { once: true });
  });
}

/** Opens the call at the first next(); leaving the loop early cancels it. */
async function* streamCall(
  channel: Client,
  target: string,
  service: Service,
  method: Method,
  { request, options }: Invocation,
): AsyncGenerator<unknown> {
  const { path, requestSerialize, responseDeserialize } = grpcMethod(service, method);
  if (options.signal?.aborted) throw new CriCallError('CANCELLED', method.name, `${method.name} was cancelled`);
  const call = channel.makeServerStreamRequest(
    path,
    requestSerialize,
    responseDeserialize,
    method.requestType.create(request ?? {}),
    new Metadata(),
    deadlineOf(options),
  );
  const cancel = () => call.cancel();
  options.signal?.addEventListener('abort', cancel, { once: true });
  try {
    yield* call;
  } catch (error) {
    throw callError(error as ServiceError, method, target);
  } finally {
    options.signal?.removeEventListener('abort', cancel);
    call.cancel();
  }
}

function deadlineOf({ timeoutMs }: CallOptions): { deadline?: number } {
  return timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
}

function callError(error: ServiceError, method: Method, target: string): Error {
  if (typeof error.code !== 'number') return error;
  const code = status[error.code] ?? 'UNKNOWN';
  const unreachable = code === 'UNAVAILABLE' && error.details.startsWith('No connection established');
  const sentence = unreachable ? `reach the CRI runtime at ${target}: ${lastConnectError(error.details)}` : error.details;
  return new CriCallError(code, method.name, sentence);
}

/** grpc-js wraps the socket's error: "No connection established. Last error: Error: connect ENOENT /run/x. Resolution note: ". */
function lastConnectError(details: string): string {
  return /Last error: (?:Error: )?(.*?)\.? Resolution note:/s.exec(details)?.[1] ?? details;
}

function waitReady(channel: Client, target: string, { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal }): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal?.reason);
    if (signal?.aborted) return abort();
    signal?.addEventListener('abort', abort, { once: true });
    channel.waitForReady(Date.now() + timeoutMs, (error) => {
      signal?.removeEventListener('abort', abort);
      if (error)
        reject(new CriCallError('UNAVAILABLE', 'waitReady', `no CRI runtime answers at ${target} within ${timeoutMs} ms; is it running?`));
      else resolve();
    });
  });
}
