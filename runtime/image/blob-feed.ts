// Owns telling how much of a blob's file is there, from the download that writes it to the thread that unpacks it meanwhile.

/** The writing side. Many may follow one download. */
export class BlobProgress {
  #arrivedBytes = 0;
  #isWhole = false;
  readonly #followers = new Set<(arrivedBytes: number) => void>();

  /** So many bytes from the start of the file are there; Infinity once it is whole. */
  get arrivedBytes(): number {
    return this.#isWhole ? Number.POSITIVE_INFINITY : this.#arrivedBytes;
  }

  /** Bytes below `arrivedBytes` are in the file and stay as they are. */
  advance(arrivedBytes: number): void {
    if (arrivedBytes <= this.#arrivedBytes) return;
    this.#arrivedBytes = arrivedBytes;
    this.#tell();
  }

  finish(): void {
    this.#isWhole = true;
    this.#tell();
  }

  /** Calls back at every change until the function that it gives is called. */
  follow(follower: (arrivedBytes: number) => void): () => void {
    this.#followers.add(follower);
    return () => this.#followers.delete(follower);
  }

  #tell(): void {
    for (const follower of this.#followers) follower(this.arrivedBytes);
  }
}

/** The reading side. */
export class BlobFeed {
  #arrivedBytes: number;
  #aborted: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(arrivedBytes = Number.POSITIVE_INFINITY) {
    this.#arrivedBytes = arrivedBytes;
  }

  tell(arrivedBytes: number): void {
    this.#arrivedBytes = Math.max(arrivedBytes, this.#arrivedBytes);
    this.#wake?.();
  }

  abort(): void {
    this.#aborted = new Error('unpacking was given up');
    this.#wake?.();
  }

  throwIfAborted(): void {
    if (this.#aborted !== undefined) throw this.#aborted;
  }

  /** Waits until there are more than `bytes`, or the blob is whole; gives how many there are. */
  async beyond(bytes: number): Promise<number> {
    while (this.#aborted === undefined && this.#arrivedBytes <= bytes) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.throwIfAborted();
    return this.#arrivedBytes;
  }
}
