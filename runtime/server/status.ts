// The one file that turns errors into gRPC status.
import { status } from '@grpc/grpc-js';
import { codeOf, renderError } from '../errors.ts';

export interface GrpcStatus {
  readonly code: number;
  readonly details: string;
}

// The status travels percent-encoded in an HTTP/2 header, three bytes for a byte that is not ASCII; clients refuse header lists over 64 KiB.
const DETAILS_LIMIT_CHARS = 4096;

/** The outermost CriError in the chain gives the code, UNKNOWN if there is none; the sentence names every cause. */
export function grpcStatus(error: unknown): GrpcStatus {
  const sentence = renderError(error);
  return {
    code: status[codeOf(error)],
    details: sentence.length > DETAILS_LIMIT_CHARS ? `${sentence.slice(0, DETAILS_LIMIT_CHARS - 1)}…` : sentence,
  };
}
