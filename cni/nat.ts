// Owns tskubelet's nftables table in the kernel: made when missing or different, its elements kept as wanted, foreign changes undone.
import { createHash } from 'node:crypto';
import { hasCode } from '../runtime/linux/errno.ts';
import { attributeString, attributeText, listAttributes, type Message, parseAttributes, type Request } from '../runtime/linux/netlink.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../runtime/linux/netlink-socket.ts';
import {
  NFNLGRP_NFTABLES,
  NFPROTO_INET,
  NFT_MSG_GETCHAIN,
  NFT_MSG_GETRULE,
  NFT_MSG_GETSET,
  NFT_MSG_GETSETELEM,
  NFT_MSG_GETTABLE,
  NFT_MSG_NEWGEN,
  nftRequest,
  parseNftMessage,
  runBatch,
} from '../runtime/linux/nfnetlink.ts';
import { type Count, countOf, parseCounter, withoutCounts } from './nft-counter.ts';
import { addElements, commentOf, deleteElements, deleteTable, type Element } from './nft-message.ts';
import {
  continueCounts,
  type Elements,
  type HostPort,
  planChanges,
  planElements,
  planTable,
  type RuleCounts,
  ruleKey,
  sets,
  type TableConfig,
} from './nft-table.ts';
import { readState, writeState } from './state-file.ts';
import { Turns } from './turns.ts';

/** libuv cannot poll a netlink socket and a waiting thread would be one of few: a look costs a microsecond. */
const WATCH_INTERVAL_MS = 500;

export interface NatContent extends TableConfig {
  readonly hostPorts: readonly HostPort[];
}

export interface NatOptions {
  /** Remembers how the kernel printed the table that was put into it. */
  readonly stateFile: string;
  /** What the table should say now. */
  readonly content: () => NatContent;
  readonly onNotice: (sentence: string) => void;
}

export interface Counted {
  readonly rules: RuleCounts;
  readonly elements: Elements;
}

/** `planned` and `kernel` are hashes: of the requests that made the table, and of what the kernel listed for it then. */
interface TableState {
  readonly planned?: unknown;
  readonly kernel?: unknown;
}

export class Nat {
  readonly #options: NatOptions;
  readonly #commands = new NetlinkSocket(NETLINK_NETFILTER);
  readonly #events = new NetlinkSocket(NETLINK_NETFILTER);
  readonly #turns = new Turns();
  readonly #timer: NodeJS.Timeout;
  #present: Elements = planElements([]);
  #applied: Promise<void> | undefined;

  constructor(options: NatOptions) {
    this.#options = options;
    this.#events.join(NFNLGRP_NFTABLES);
    this.#timer = setInterval(() => this.#look(), WATCH_INTERVAL_MS);
    this.#timer.unref();
  }

  /** Compares the kernel's table with the wanted one and puts it right. Gives whether anything had to be done. */
  ensure(): Promise<boolean> {
    return this.#turns.run('', () => this.#ensure());
  }

  async #ensure(): Promise<boolean> {
    const content = this.#options.content();
    const plan = planTable(content);
    const planned = hashOf(plan.map(({ type, flags, body }) => Buffer.concat([Buffer.of(type & 0xff, flags & 0xff), body])));
    const state = ((await readState(this.#options.stateFile)) ?? {}) as TableState;
    const wanted = planElements(content.hostPorts);
    if (state.planned === planned && state.kernel === (await this.#fingerprint(content.table))) {
      this.#present = await this.#listElements(content.table);
      return this.#change(content.table, wanted);
    }
    // What is counted between this look and the new table is lost; what others flushed is, too.
    const { rules, elements } = await this.#counted(content.table);
    const requests = changeRequests(content.table, planElements([]), continueCounts(wanted, elements));
    await runBatch(this.#commands, [...planTable(content, rules), ...requests]);
    this.#present = wanted;
    writeState(this.#options.stateFile, { planned, kernel: await this.#fingerprint(content.table) });
    return true;
  }

  /** Brings the elements to what is wanted now; calls made while one runs share the next. */
  apply(): Promise<void> {
    this.#applied ??= this.#turns.run('', async () => {
      this.#applied = undefined;
      const { table, hostPorts } = this.#options.content();
      try {
        await this.#change(table, planElements(hostPorts));
      } catch {
        // What is there was not what we remember.
        await this.#ensure();
      }
    });
    return this.#applied;
  }

  async #change(table: string, wanted: Elements): Promise<boolean> {
    const requests = changeRequests(table, this.#present, wanted);
    if (requests.length === 0) return false;
    await runBatch(this.#commands, requests);
    this.#present = wanted;
    return true;
  }

  /** A hash of how the kernel lists the table, chains, sets and rules; undefined when there is no such table. */
  async #fingerprint(table: string): Promise<string | undefined> {
    // Attributes that say what was put in; not handles, counts and positions.
    const listings = [
      { message: NFT_MSG_GETTABLE, attributes: [1, 2] },
      { message: NFT_MSG_GETCHAIN, attributes: [1, 3, 4, 5, 7] },
      { message: NFT_MSG_GETSET, attributes: [1, 2, 3, 4, 5, 6, 7, 17] },
      { message: NFT_MSG_GETRULE, attributes: [1, 2, 4, 7] },
    ];
    const parts: Buffer[] = [];
    for (const { message, attributes } of listings) {
      const found = (await this.#list(nftRequest(message, 0, 'list nftables', []))).filter((one) => tableOf(one) === table);
      if (message === NFT_MSG_GETTABLE && found.length === 0) return undefined;
      for (const one of found)
        for (const number of attributes) {
          const value = parseNftMessage(one)?.attributes.get(number) ?? Buffer.of();
          parts.push(Buffer.of(message, number), message === NFT_MSG_GETRULE && number === 4 ? withoutCounts(value) : value);
        }
    }
    return hashOf(parts);
  }

  /** What the kernel has counted; of rules and elements that it does not have, nothing. */
  counted(): Promise<Counted> {
    return this.#turns.run('', () => this.#counted(this.#options.content().table));
  }

  async #counted(table: string): Promise<Counted> {
    const rules = new Map<string, Count>();
    for (const message of await this.#list(nftRequest(NFT_MSG_GETRULE, 0, 'list rules', []))) {
      if (tableOf(message) !== table) continue;
      const attributes = parseNftMessage(message)?.attributes;
      const [chain, expressions, comment] = [2, 4, 7].map((number) => attributes?.get(number) ?? Buffer.of()) as [Buffer, Buffer, Buffer];
      const count = countOf(expressions);
      if (count !== undefined) rules.set(ruleKey({ chain: attributeText(chain), comment: commentOf(comment) }), count);
    }
    const elements = await this.#listElements(table).catch((error: unknown) => {
      // No such table, or one that another version of this program made.
      if (hasCode(error, 'ENOENT')) return planElements([]);
      throw error;
    });
    return { rules, elements };
  }

  async #listElements(table: string): Promise<Elements> {
    const elements = new Map<string, Map<string, Element>>();
    for (const { name } of sets) {
      const named = [attributeString(1, table), attributeString(2, name)];
      const messages = await this.#list(nftRequest(NFT_MSG_GETSETELEM, 0, `list elements of ${name}`, named));
      const found = messages.flatMap(parseElements).map((element) => [element.key.toString('hex'), element] as const);
      elements.set(name, new Map(found));
    }
    return elements;
  }

  #list(request: Request): Promise<Message[]> {
    return this.#commands.dump(request);
  }

  #look(): void {
    const { messages, overrun } = this.#events.notifications();
    const { table } = this.#options.content();
    let touched = overrun;
    let by = '';
    for (const message of messages) {
      const parsed = parseNftMessage(message);
      if (parsed === undefined || parsed.portId === this.#commands.portId) continue;
      if (parsed.message === NFT_MSG_NEWGEN) by = touched && by === '' ? culprit(parsed.attributes) : by;
      else if (parsed.family === NFPROTO_INET && tableOf(message) === table) touched = true;
    }
    if (!touched) return;
    void this.ensure().then(
      (changed) => {
        if (changed) this.#options.onNotice(`nftables table ${table} was changed${by} and has been put back`);
      },
      (error: unknown) => this.#options.onNotice(`nftables table ${table} was changed${by}: ${(error as Error).message}`),
    );
  }

  /** With `remove` the table goes too. */
  async close({ remove }: { readonly remove: boolean }): Promise<void> {
    clearInterval(this.#timer);
    const { table } = this.#options.content();
    if (remove)
      await this.#turns.run('', async () => {
        if ((await this.#fingerprint(table)) !== undefined) await runBatch(this.#commands, [deleteTable(table)]);
      });
    this.#events.close();
    this.#commands.close();
  }
}

function changeRequests(table: string, present: Elements, wanted: Elements): Request[] {
  return planChanges(present, wanted).flatMap(({ set, added, deleted }) => [
    ...deleteElements(table, set, deleted),
    ...addElements(table, set, added),
  ]);
}

/** Every message about a table, and what is in one, names it in its first attribute. */
const tableOf = (message: Message): string => attributeText(parseNftMessage(message)?.attributes.get(1) ?? Buffer.of());

const culprit = (attributes: ReadonlyMap<number, Buffer>): string => {
  const pid = attributes.get(2)?.readUInt32BE(0);
  return ` by ${attributeText(attributes.get(3) ?? Buffer.from('a process'))}${pid === undefined ? '' : ` (pid ${pid})`}`;
};

function parseElements(message: Message): Element[] {
  const list = parseNftMessage(message)?.attributes.get(3) ?? Buffer.of();
  return listAttributes(list).map(({ value }) => {
    const attributes = parseAttributes(value);
    const register = (type: number) => parseAttributes(attributes.get(type) ?? Buffer.of()).get(1);
    const data = register(2);
    const count = parseCounter(attributes.get(7) ?? Buffer.of());
    return {
      key: register(1) ?? Buffer.of(),
      ...(data === undefined ? {} : { data }),
      ...(count === undefined ? {} : { count }),
    };
  });
}

function hashOf(parts: readonly Buffer[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(Buffer.from(`${part.length}:`)).update(part);
  return hash.digest('hex');
}
