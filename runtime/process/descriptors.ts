// Owns the descriptors of one launch: opened together, placed in the child, closed together here.
import fs from 'node:fs';
import { openNull } from '../linux/null-device.ts';
import { FD } from '../program/records.ts';

export class Descriptors {
  readonly #opened: number[] = [];
  readonly #placed: [number, number][] = [];
  /** A /dev/null that is not the host's, readable and writable. */
  readonly null: number;

  constructor() {
    this.null = this.own(openNull());
  }

  open(path: string, flags: number): number {
    return this.own(fs.openSync(path, flags | fs.constants.O_NOCTTY));
  }

  /** A descriptor that is closed here with the others. */
  own(fd: number): number {
    this.#opened.push(fd);
    return fd;
  }

  place(fd: number, target: keyof typeof FD): void {
    this.#placed.push([fd, FD[target]]);
  }

  get placed(): readonly (readonly [number, number])[] {
    return [...[0, 1, 2].map((target) => [this.null, target] as const), ...this.#placed];
  }

  close(): void {
    for (const fd of this.#opened.splice(0)) fs.closeSync(fd);
  }
}
