// Owns a sandbox as an object: its record on disk and the one way to change it.
import fs from 'node:fs';
import type { Paths } from '../paths.ts';
import { Serial } from '../serial.ts';
import { writeJsonFile } from '../state/json-file.ts';
import { isAlive } from '../state/process-identity.ts';
import { encodeSandboxRecord, type SandboxRecord } from './record.ts';

export class Sandbox {
  readonly #paths: Paths;
  readonly serial = new Serial();
  /** From the beginning of its first stop on: no container may be created or started in it any more. */
  stopping = false;
  /** Clients know that it has stopped. */
  toldStopped: boolean;
  #record: SandboxRecord;

  constructor(paths: Paths, record: SandboxRecord) {
    this.#paths = paths;
    this.#record = record;
    this.toldStopped = record.state === 'notReady';
  }

  get id(): string {
    return this.#record.id;
  }

  /** A ready sandbox whose pause process has died is not ready: seen here, written down by whoever changes it next. */
  get record(): SandboxRecord {
    const { state, pause } = this.#record;
    return state === 'ready' && (pause === undefined || !isAlive(pause)) ? { ...this.#record, state: 'notReady' } : this.#record;
  }

  /** Changes the record, on disk first. */
  change(changes: Partial<SandboxRecord>): void {
    this.replace({ ...this.record, ...changes });
  }

  replace(next: SandboxRecord): void {
    writeJsonFile(this.#paths.sandboxRecord(next.id), encodeSandboxRecord(next));
    this.#record = next;
  }

  /** The last step of a removal: nothing of the sandbox is left but this. */
  forget(): void {
    fs.rmSync(this.#paths.sandboxRecord(this.id), { force: true });
  }
}
