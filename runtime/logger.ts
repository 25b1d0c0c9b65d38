// The logger that both halves are given: pino's call shape, so that runtime/ needs no opinion on where lines go.

export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
