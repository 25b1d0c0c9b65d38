// Owns how an error becomes the sentence that a person reads.

/** The message and its causes, joined by ": ". A message that its cause repeats is not said twice. */
export function describeError(error: unknown): string {
  const parts: string[] = [];
  for (let link: unknown = error; link !== undefined && link !== null; ) {
    if (!(link instanceof Error)) {
      parts.push(String(link));
      break;
    }
    const message = link instanceof AggregateError ? link.errors.map(describeError).join('; ') : link.message;
    if (message !== '' && !parts.some((part) => part.includes(message))) parts.push(message);
    link = link.cause;
  }
  return parts.join(': ') || 'unknown error';
}

/** A mistake of ours, not of the user or the machine: its place in the code is the only useful thing about it. */
export function isProgrammerError(error: unknown): error is Error {
  return (
    error instanceof TypeError ||
    error instanceof RangeError ||
    error instanceof ReferenceError ||
    (error instanceof Error && error.name === 'AssertionError')
  );
}

/** A command cannot go on: its sentence goes to stderr, its code is the exit code. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly exitCode: number;

  constructor(message: string, exitCode = 1, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.exitCode = exitCode;
  }
}

/** Wrong use of the command line: exit code 2. */
export function usageError(message: string): CommandError {
  return new CommandError(message, 2);
}
