/** How long a client of the streaming server may take. */
export interface StreamTimes {
  /** The connection is ended after this time in which nothing came or went. */
  readonly idleMs: number;
  /** For opening its streams. */
  readonly creationMs: number;
  /** How often a client that is not read from is written to: its end shows no other way. */
  readonly probeMs: number;
}
