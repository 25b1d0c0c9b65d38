// Owns the leases of pod addresses: one file per address that names its sandbox, written before the address is used.
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { hasCode } from '../runtime/linux/errno.ts';
import { type Cidr, formatIp, type IpAddress, parseIp } from './ip.ts';
import { allocate } from './ipam.ts';
import { listState, readState, removeState } from './state-file.ts';

/** Holder of a lease whose file does not say. */
const UNKNOWN = '';

export class Leases {
  readonly #directory: string;
  readonly #bootId: string;
  /** Address to sandbox. */
  readonly #holders = new Map<string, string>();
  readonly #previous = new Map<4 | 6, bigint>();

  constructor(directory: string, bootId: string) {
    this.#directory = directory;
    this.#bootId = bootId;
  }

  /** Reads the leases on disk; those of an earlier boot are dropped. */
  async load(): Promise<void> {
    const newestMs = new Map<4 | 6, number>();
    for (const name of await listState(this.#directory)) {
      if (net.isIP(name) === 0) continue;
      const file = path.join(this.#directory, name);
      const lease = (await readState(file)) as { sandboxId?: unknown; bootId?: unknown } | undefined;
      if (lease?.bootId !== undefined && lease.bootId !== this.#bootId) {
        removeState(file);
        continue;
      }
      this.#holders.set(name, typeof lease?.sandboxId === 'string' ? lease.sandboxId : UNKNOWN);
      const { family, value } = parseIp(name);
      const { mtimeMs } = fs.statSync(file);
      if (mtimeMs < (newestMs.get(family) ?? 0)) continue;
      newestMs.set(family, mtimeMs);
      this.#previous.set(family, value);
    }
  }

  /** Leases one address of the range to a sandbox. */
  add(cidr: Cidr, sandboxId: string): IpAddress {
    for (;;) {
      const address = allocate(cidr, (one) => this.#holders.has(formatIp(one)), this.#previous.get(cidr.family));
      const name = formatIp(address);
      this.#holders.set(name, sandboxId);
      this.#previous.set(cidr.family, address.value);
      try {
        const lease = JSON.stringify({ sandboxId, bootId: this.#bootId });
        fs.writeFileSync(path.join(this.#directory, name), lease, { flag: 'wx' });
        return address;
      } catch (error) {
        if (hasCode(error, 'EEXIST')) {
          this.#holders.set(name, UNKNOWN);
          continue;
        }
        this.#holders.delete(name);
        throw new Error(`lease ${name} to sandbox ${sandboxId}`, { cause: error });
      }
    }
  }

  /** Releases what a sandbox holds. */
  del(sandboxId: string): void {
    for (const [name, holder] of this.#holders) {
      if (holder !== sandboxId) continue;
      removeState(path.join(this.#directory, name));
      this.#holders.delete(name);
    }
  }

  /** Sandboxes that hold a lease; "" stands for leases without a known holder. */
  holders(): Set<string> {
    return new Set(this.#holders.values());
  }
}
