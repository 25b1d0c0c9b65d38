// What client and server share: types of calls derived from the generated service definitions, and grpc-js's shape of a method.
import type { MethodDefinition } from '@grpc/grpc-js';
import { type ImageAdminDefinition as ImageAdmin, ImageAdminDefinition } from './gen/admin.ts';
import {
  type DeepPartial,
  type ImageServiceDefinition as ImageService,
  ImageServiceDefinition,
  type MessageFns,
  type RuntimeServiceDefinition as RuntimeService,
  RuntimeServiceDefinition,
} from './gen/api.ts';

/** One method as the generator describes it. */
export interface Method {
  readonly name: string;
  readonly requestType: MessageFns<unknown>;
  readonly responseType: MessageFns<unknown>;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
}

export interface Service {
  readonly fullName: string;
  readonly methods: { readonly [key: string]: Method };
}

/** All services' methods by their camel-case names, which do not collide. */
export type CriMethods = RuntimeService['methods'] & ImageService['methods'] & ImageAdmin['methods'];

type MessageOf<Codec> = Codec extends MessageFns<infer Message> ? Message : never;
export type RequestOf<M extends { requestType: unknown }> = MessageOf<M['requestType']>;
export type ResponseOf<M extends { responseType: unknown }> = MessageOf<M['responseType']>;
/** A request to be sent: what is left out is its zero value. */
export type PartialRequestOf<M extends { requestType: unknown }> = DeepPartial<RequestOf<M>>;

export const criServices: readonly Service[] = [RuntimeServiceDefinition, ImageServiceDefinition];

/** What our own runtime serves on its socket: CRI, and tskubelet's own service for images. */
export const services: readonly Service[] = [...criServices, ImageAdminDefinition];

/** The method as grpc-js wants it; bytes are passed on without a copy. */
export function grpcMethod(service: Service, method: Method): MethodDefinition<unknown, unknown> {
  return {
    path: `/${service.fullName}/${method.name}`,
    originalName: method.name,
    requestStream: method.requestStream,
    responseStream: method.responseStream,
    requestSerialize: (message) => bytesOf(method.requestType, message),
    requestDeserialize: (bytes) => method.requestType.decode(bytes),
    responseSerialize: (message) => bytesOf(method.responseType, message),
    responseDeserialize: (bytes) => method.responseType.decode(bytes),
  };
}

function bytesOf(codec: MessageFns<unknown>, message: unknown): Buffer {
  const bytes = codec.encode(message).finish();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
