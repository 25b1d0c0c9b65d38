// Owns writing a download into its file: pieces of the network are gathered, because each hop to a thread of libuv costs more than the
// writing of 64 KiB, and the next ones are taken while the last are written.
import type { FileHandle } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';

const GATHER_BYTES = 512 * 1024;
/** libuv reads a busy socket 32 times in one turn of the event loop, as long as everything is taken at once. */
const TURN_BYTES = 128 * 1024;

export class BlobWriter {
  readonly #file: FileHandle;
  readonly #onWritten: (endBytes: number) => void;
  #position: number;
  #pieces: Buffer[] = [];
  #gatheredBytes = 0;
  #turnBytes = 0;
  #writing: Promise<void> = Promise.resolve();

  /** Writes from `position` on; `onWritten` hears up to where the file is filled. */
  constructor(file: FileHandle, position: number, onWritten: (endBytes: number) => void) {
    this.#file = file;
    this.#position = position;
    this.#onWritten = onWritten;
  }

  /** Where the next piece goes. */
  get endBytes(): number {
    return this.#position + this.#gatheredBytes;
  }

  async push(piece: Buffer): Promise<void> {
    this.#pieces.push(piece);
    this.#gatheredBytes += piece.length;
    this.#turnBytes += piece.length;
    if (this.#gatheredBytes >= GATHER_BYTES) {
      await this.#writing;
      this.#write();
    }
    if (this.#turnBytes < TURN_BYTES) return;
    this.#turnBytes = 0;
    await setImmediate();
  }

  /** Resolves when everything is in the file. */
  async flush(): Promise<void> {
    await this.#writing;
    this.#write();
    await this.#writing;
  }

  #write(): void {
    const pieces = this.#pieces;
    const position = this.#position;
    if (pieces.length === 0) return;
    this.#pieces = [];
    this.#position += this.#gatheredBytes;
    this.#gatheredBytes = 0;
    this.#writing = this.#writeAll(pieces, position);
    // Whoever awaits it next hears of a failure.
    this.#writing.catch(() => undefined);
  }

  async #writeAll(pieces: readonly Buffer[], position: number): Promise<void> {
    const total = pieces.reduce((bytes, piece) => bytes + piece.length, 0);
    let { bytesWritten: written } = await this.#file.writev(pieces, position);
    // A disk that is almost full takes a part; asking again for the rest tells the reason.
    while (written < total)
      written += (await this.#file.write(Buffer.concat(pieces).subarray(written), 0, total - written, position + written)).bytesWritten;
    this.#onWritten(position + total);
  }
}
