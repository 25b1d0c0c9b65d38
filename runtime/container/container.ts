// Owns a container as an object: its record on disk, the one way to change it, and the live process while there is one.
import fs from 'node:fs';
import type { Paths } from '../paths.ts';
import type { ContainerProcess } from '../process/container.ts';
import { Serial } from '../serial.ts';
import { writeJsonFile, writeJsonFileDurably } from '../state/json-file.ts';
import { type ContainerRecord, type ExitRecord, encodeContainerRecord } from './record.ts';
import type { Terminal } from './terminal.ts';

export class Container {
  readonly #paths: Paths;
  /** Create, start and remove follow each other; stop and exec do not wait in it. */
  readonly serial = new Serial();
  /** The releases of an external runtime follow each other: at the end of the process, and at a removal that comes meanwhile. */
  readonly releases = new Serial();
  #record: ContainerRecord;
  #ended: () => void = () => undefined;
  /** Resolves when the record has the exit: after the last output line is in the log. */
  ended: Promise<void> = Promise.resolve();
  process: ContainerProcess | undefined;
  /** While it runs, when it has one. */
  terminal: Terminal | undefined;

  constructor(paths: Paths, record: ContainerRecord) {
    this.#paths = paths;
    this.#record = record;
  }

  get id(): string {
    return this.#record.id;
  }

  get record(): ContainerRecord {
    return this.#record;
  }

  /** Changes the record, on disk first. */
  change(changes: Partial<ContainerRecord>): void {
    const next = { ...this.#record, ...changes };
    writeJsonFile(this.#paths.containerRecord(next.id), encodeContainerRecord(next));
    this.#record = next;
  }

  /** From here on `ended` is pending. */
  expectEnd(): void {
    this.ended = new Promise((resolve) => {
      this.#ended = resolve;
    });
  }

  /** Writes the exit down for good. The exit file on the tmpfs may go after this. */
  async end(exit: ExitRecord, changes: Partial<ContainerRecord> = {}): Promise<void> {
    const next: ContainerRecord = { ...this.#record, ...changes, state: 'exited', exit };
    await writeJsonFileDurably(this.#paths.containerRecord(next.id), encodeContainerRecord(next));
    this.#record = next;
    this.#ended();
  }

  /** The last step of a removal: nothing of the container is left but this. */
  async forget(): Promise<void> {
    await fs.promises.rm(this.#paths.containerDir(this.id), { recursive: true, force: true });
  }
}
