// Owns the records of attachments: one file per sandbox, written before anything is made for it, removed after everything is gone.
//
//   (none) ──attach──▶ attaching ──every step done──▶ attached ──detach──▶ (none)
//                          └──a step failed, or the process died──▶ (none), all of it undone
import fs from 'node:fs';
import path from 'node:path';
import type { Bandwidth } from './bandwidth.ts';
import type { Attachment, PortMapping } from './client.ts';
import { listState, readState, removeState, writeState } from './state-file.ts';

export interface PodAddress {
  readonly address: string;
  readonly prefixLength: number;
  readonly gateway: string;
}

export interface AttachmentRecord {
  readonly state: 'attaching' | 'attached';
  readonly sandboxId: string;
  readonly namespace: string;
  readonly name: string;
  readonly bootId: string;
  readonly netnsPath: string;
  /** Device and inode number of the network namespace. */
  readonly netnsId: string;
  readonly hostInterface: string;
  readonly interfaceName: string;
  readonly mac: string;
  readonly addresses: readonly PodAddress[];
  readonly portMappings: readonly PortMapping[];
  readonly bandwidth?: Bandwidth;
}

export function attachmentOf(record: AttachmentRecord): Attachment {
  const { sandboxId, mac, hostInterface, interfaceName, addresses } = record;
  return { sandboxId, ips: addresses.map(({ address }) => address), mac, hostInterface, interfaceName };
}

export class AttachmentRecords {
  readonly #directory: string;
  readonly #bootId: string;
  readonly #records = new Map<string, AttachmentRecord>();

  constructor(directory: string, bootId: string) {
    this.#directory = directory;
    this.#bootId = bootId;
  }

  /** Reads the records on disk; those of an earlier boot, and those cut short before anything was made, are dropped. */
  async load(): Promise<void> {
    for (const name of await listState(this.#directory)) {
      const file = path.join(this.#directory, name);
      const record = (await readState(file)) as AttachmentRecord | undefined;
      if (record?.bootId === this.#bootId) this.#records.set(record.sandboxId, record);
      else removeState(file);
    }
  }

  get(sandboxId: string): AttachmentRecord | undefined {
    return this.#records.get(sandboxId);
  }

  all(): AttachmentRecord[] {
    return [...this.#records.values()];
  }

  /** The first record of an attachment. Written in place: one that a crash cut short stands for nothing made yet, and is dropped. */
  announce(record: AttachmentRecord): void {
    fs.writeFileSync(this.#fileOf(record.sandboxId), JSON.stringify(record));
    this.#records.set(record.sandboxId, record);
  }

  put(record: AttachmentRecord): void {
    writeState(this.#fileOf(record.sandboxId), record);
    this.#records.set(record.sandboxId, record);
  }

  delete(sandboxId: string): void {
    removeState(this.#fileOf(sandboxId));
    this.#records.delete(sandboxId);
  }

  #fileOf(sandboxId: string): string {
    if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/.test(sandboxId)) throw new Error(`"${sandboxId}" is no sandbox id`);
    return path.join(this.#directory, `${sandboxId}.json`);
  }
}
