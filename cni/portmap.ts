// Owns the portmap step: hostPorts are claimed before anything is made for a sandbox, and lead to it once it has its addresses.
import type { AttachmentRecord } from './attachment.ts';
import { checkPortMappings, describeHostPort, findConflict, type HostPortClaim, planHostPorts } from './host-port.ts';
import { parseIp } from './ip.ts';
import type { Nat } from './nat.ts';
import type { HostPort } from './nft-table.ts';
import type { Plugin } from './plugin.ts';

export class Portmap implements Plugin {
  readonly type = 'portmap';
  readonly #claims = new Map<string, AttachmentRecord>();
  /** undefined: this kernel cannot translate addresses. */
  readonly #nat: () => Nat | undefined;
  readonly #otherClaims: () => Iterable<HostPortClaim>;

  constructor(nat: () => Nat | undefined, otherClaims: () => Iterable<HostPortClaim>) {
    this.#nat = nat;
    this.#otherClaims = otherClaims;
  }

  claims(): Iterable<HostPortClaim> {
    return this.#claims.values();
  }

  /** Takes the hostPorts for the sandbox, or throws who has one of them. */
  claim(record: AttachmentRecord): void {
    const [first] = record.portMappings;
    if (first === undefined) return;
    checkPortMappings(record.portMappings);
    if (this.#nat() === undefined) throw new Error(`${describeHostPort(first)} needs nf_tables, which this kernel does not have`);
    const conflict = findConflict(record, [...this.#claims.values(), ...this.#otherClaims()]);
    if (conflict !== undefined) throw new Error(conflict);
    this.#claims.set(record.sandboxId, record);
  }

  /** Takes up what a sandbox already has. */
  resume(record: AttachmentRecord): void {
    if (record.portMappings.length > 0) this.#claims.set(record.sandboxId, record);
  }

  hostPorts(): HostPort[] {
    return [...this.#claims.values()]
      .filter(({ addresses }) => addresses.length > 0)
      .flatMap(({ portMappings, addresses }) => {
        const targets = addresses.map(({ address }) => parseIp(address));
        return planHostPorts(portMappings, targets);
      });
  }

  async add(record: AttachmentRecord): Promise<AttachmentRecord> {
    if (record.portMappings.length > 0) {
      const targets = record.addresses.map(({ address }) => parseIp(address));
      // Thrown here, not when the table is next planned for everyone.
      planHostPorts(record.portMappings, targets);
      this.#claims.set(record.sandboxId, record);
      await this.#nat()?.apply();
    }
    return record;
  }

  async del({ sandboxId }: AttachmentRecord): Promise<void> {
    if (this.#claims.delete(sandboxId)) await this.#nat()?.apply();
  }
}
