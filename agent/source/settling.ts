// When a file that changes may be believed: writers truncate, write in pieces, and delete before they write anew.

/** A file is read when it has been left alone for so long. */
const quietMs = 50;
/** The same for a change that would end pods: it is more likely half done than meant so. */
const quietLossyMs = 200;
/** A file that never rests is read all the same. */
const limitMs = 2000;

interface Change {
  readonly stamp: string;
  readonly stampSinceMs: number;
  readonly sinceMs: number;
}

/** Per file, since when it has been as it is. All times from one monotonic clock. */
export class Settling {
  private readonly changes = new Map<string, Change>();

  /** ageMs: how long ago the file itself says that it was last written. Returns 0, or how long to leave it alone. */
  waitMs(file: string, stamp: string, { nowMs, ageMs, lossy }: { nowMs: number; ageMs: number; lossy: boolean }): number {
    const before = this.changes.get(file);
    const change = before?.stamp === stamp ? before : { stamp, stampSinceMs: nowMs, sinceMs: before?.sinceMs ?? nowMs };
    this.changes.set(file, change);
    if (nowMs - change.sinceMs >= limitMs) return 0;
    return Math.max(0, (lossy ? quietLossyMs : quietMs) - Math.max(nowMs - change.stampSinceMs, ageMs));
  }

  settled(file: string): void {
    this.changes.delete(file);
  }

  /** Files that are no longer there do not settle. */
  keep(present: ReadonlySet<string>): void {
    for (const file of [...this.changes.keys()]) if (!present.has(file)) this.changes.delete(file);
  }

  get isQuiet(): boolean {
    return this.changes.size === 0;
  }
}
