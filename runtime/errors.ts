// The runtime's error class: a gRPC code and a sentence for the person who must act. Only runtime/server turns it into a status.

/** The codes that CRI clients tell apart, by their gRPC names. */
export type CriCode =
  | 'CANCELLED'
  | 'UNKNOWN'
  | 'INVALID_ARGUMENT'
  | 'DEADLINE_EXCEEDED'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'PERMISSION_DENIED'
  | 'RESOURCE_EXHAUSTED'
  | 'FAILED_PRECONDITION'
  | 'ABORTED'
  | 'OUT_OF_RANGE'
  | 'UNIMPLEMENTED'
  | 'INTERNAL'
  | 'UNAVAILABLE'
  | 'UNAUTHENTICATED';

/** message: lower case, no final period, without its cause: the printer adds that. */
export class CriError extends Error {
  override readonly name = 'CriError';
  readonly code: CriCode;

  constructor(code: CriCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

type Constructor = (message: string, cause?: unknown) => CriError;
const withCode =
  (code: CriCode): Constructor =>
  (message, cause) =>
    new CriError(code, message, cause);

export const cancelled = withCode('CANCELLED');
export const invalidArgument = withCode('INVALID_ARGUMENT');
export const deadlineExceeded = withCode('DEADLINE_EXCEEDED');
export const notFound = withCode('NOT_FOUND');
export const alreadyExists = withCode('ALREADY_EXISTS');
export const permissionDenied = withCode('PERMISSION_DENIED');
export const resourceExhausted = withCode('RESOURCE_EXHAUSTED');
export const failedPrecondition = withCode('FAILED_PRECONDITION');
export const aborted = withCode('ABORTED');
export const unimplemented = withCode('UNIMPLEMENTED');
export const internal = withCode('INTERNAL');
export const unavailable = withCode('UNAVAILABLE');

/** The code that a client is told: that of the outermost CriError in the chain; UNKNOWN means that nobody chose one. */
export function codeOf(error: unknown): CriCode {
  for (let link = error; link instanceof Error; link = link.cause) {
    if (link instanceof CriError) return link.code;
  }
  return 'UNKNOWN';
}

export function hasCriCode(error: unknown, code: CriCode): boolean {
  return codeOf(error) === code;
}

/** The whole story on one line: message, then each cause, joined by ": "; never a stack. */
export function renderError(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(renderError).join('; ');
  if (!(error instanceof Error)) return String(error);
  const message = error.message || error.name;
  if (error.cause === undefined) return message;
  const cause = renderError(error.cause);
  return message.endsWith(cause) ? message : `${message}: ${cause}`;
}
