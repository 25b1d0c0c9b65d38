// Owns the unpacked layers: <dir>/layers/<name>/{layer.json,fs}. A layer is named by its chain ID, because directories that it needs but
// does not describe take their attributes from the layers below it. It appears whole, by one rename, or not at all.
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { readJsonFile, writeJsonFile } from '../state/json-file.ts';
import type { Completed } from './complete-layer.ts';
import { readdirIfThere } from './content.ts';
import type { Unpacked } from './unpack.ts';

/** Written beside a layer's files, before the rename. */
interface LayerRecord {
  readonly chainId: string;
  readonly sizeBytes: number;
  readonly inodes: number;
  /** boot_id; absent once the files are on disk. */
  readonly boot?: string;
}

/** What a maker of layers gets: an empty directory to fill, and the directory of the layer below once that one is whole. */
export type MakeLayer = (fsDir: string, below: () => Promise<string | undefined>) => Promise<Unpacked>;

export interface LayerStore {
  has(chainId: string): boolean;
  /** The directory for overlayfs' lowerdir. Throws when the layer is absent. */
  directory(chainId: string): string;
  usage(chainId: string): { sizeBytes: number; inodes: number };
  /** Makes the layers of a chain that are absent, at the same time, each finished after the one below it. */
  ensure(chain: readonly string[], make: (index: number) => MakeLayer): Promise<void>;
  /** Layers whose files may not be on disk yet. */
  unsettled(chain: readonly string[]): string[];
  /** Notes that the files of layers are on disk: call it after syncfs(2). */
  settle(chain: readonly string[]): Promise<void>;
  /** Keeps layers from being collected until released. */
  lease(chain: readonly string[]): () => void;
  /** Removes every layer that is neither live nor leased. `live` is asked anew before each removal, since pulls go on meanwhile. */
  collect(live: () => Iterable<string>): Promise<void>;
  /** The lowerdir of images without layers. */
  emptyDirectory(): string;
}

/** 96 bits of the chain ID keep mount options of many layers below the page that mount(2) takes; layer.json has the whole of it. */
function nameOf(chainId: string): string {
  return chainId.slice(chainId.indexOf(':') + 1).slice(0, 24);
}

/** Gives a layer what it takes from the directories of the layers below, topmost first. */
export type CompleteLayer = (fsDir: string, unpacked: Unpacked, lowerDirs: readonly string[]) => Promise<Completed>;

export function createLayerStore(dir: string, ingestDir: string, bootId: string, complete: CompleteLayer): LayerStore {
  const making = new Map<string, Promise<void>>();
  const leases = new Map<string, number>();
  const known = new Map<string, LayerRecord>();
  const home = (chainId: string): string => path.join(dir, nameOf(chainId));
  const fsOf = (chainId: string): string => path.join(home(chainId), 'fs');

  function record(chainId: string): LayerRecord | undefined {
    const found = known.get(chainId) ?? (readJsonFile(path.join(home(chainId), 'layer.json')) as LayerRecord | undefined);
    if (found === undefined) return undefined;
    if (found.boot !== undefined && found.boot !== bootId) return undefined;
    if (found.chainId !== chainId) throw new Error(`the layers ${chainId} and ${found.chainId} share the directory ${home(chainId)}`);
    known.set(chainId, found);
    return found;
  }

  async function makeLayer(chain: readonly string[], index: number, lower: Promise<void>, make: MakeLayer): Promise<void> {
    const chainId = chain[index] ?? '';
    const temporary = path.join(ingestDir, `layer-${randomUUID()}`);
    const fsDir = path.join(temporary, 'fs');
    const below = async (): Promise<string | undefined> => {
      await lower;
      const parent = chain[index - 1];
      return parent === undefined ? undefined : fsOf(parent);
    };
    try {
      await fs.promises.mkdir(fsDir, { recursive: true, mode: 0o755 });
      const unpacked = await make(fsDir, below);
      await below();
      const added = await complete(fsDir, unpacked, chain.slice(0, index).map(fsOf).reverse());
      const [sizeBytes, inodes] = [unpacked.sizeBytes + added.sizeBytes, unpacked.inodes + added.inodes];
      writeJsonFile(path.join(temporary, 'layer.json'), { chainId, sizeBytes, inodes, boot: bootId } satisfies LayerRecord);
      await fs.promises.mkdir(dir, { recursive: true, mode: 0o711 });
      if (fs.existsSync(home(chainId))) await removeLayer(nameOf(chainId));
      await fs.promises.rename(temporary, home(chainId));
    } catch (error) {
      await fs.promises.rm(temporary, { recursive: true, force: true });
      throw error;
    }
  }

  /** Out of the way first, in the turn of the call: a layer that is half removed must not look like one. */
  async function removeLayer(name: string): Promise<void> {
    const doomed = path.join(ingestDir, `removed-${randomUUID()}`);
    fs.mkdirSync(ingestDir, { recursive: true, mode: 0o700 });
    fs.renameSync(path.join(dir, name), doomed);
    for (const chainId of known.keys()) if (nameOf(chainId) === name) known.delete(chainId);
    await fs.promises.rm(doomed, { recursive: true, force: true });
  }

  /** A layer that another pull makes is waited for; should that one fail or be given up, this one makes it itself. */
  async function obtain(chain: readonly string[], index: number, lower: Promise<void>, make: (index: number) => MakeLayer): Promise<void> {
    const chainId = chain[index] ?? '';
    for (let other = making.get(chainId); other !== undefined; other = making.get(chainId)) await other.catch(() => undefined);
    if (record(chainId) === undefined) await start(chain, index, lower, make(index));
  }

  function start(chain: readonly string[], index: number, lower: Promise<void>, make: MakeLayer): Promise<void> {
    const chainId = chain[index] ?? '';
    const started = makeLayer(chain, index, lower, make).finally(() => making.delete(chainId));
    making.set(chainId, started);
    return started;
  }

  return {
    has: (chainId) => record(chainId) !== undefined,
    directory: (chainId) => {
      if (record(chainId) === undefined) throw new Error(`the layer ${chainId} is not in ${dir}`);
      return fsOf(chainId);
    },
    usage: (chainId) => record(chainId) ?? { sizeBytes: 0, inodes: 0 },
    ensure: async (chain, make) => {
      let lower = Promise.resolve();
      const work = chain.map((_, index) => {
        lower = obtain(chain, index, lower, make);
        return lower;
      });
      // All of them have ended when this does, so that a failed pull leaves nothing running.
      const failed = (await Promise.allSettled(work)).find((result) => result.status === 'rejected');
      if (failed !== undefined) throw failed.reason;
    },
    unsettled: (chain) => chain.filter((chainId) => record(chainId)?.boot !== undefined),
    settle: async (chain) => {
      for (const chainId of chain) {
        const found = record(chainId);
        if (found?.boot === undefined) continue;
        const { boot: _, ...settled } = found;
        writeJsonFile(path.join(home(chainId), 'layer.json'), settled);
        known.set(chainId, settled);
      }
    },
    lease: (chain) => {
      for (const chainId of chain) leases.set(chainId, (leases.get(chainId) ?? 0) + 1);
      return () => {
        for (const chainId of chain) leases.set(chainId, (leases.get(chainId) ?? 1) - 1);
      };
    },
    collect: async (live) => {
      for (const name of await readdirIfThere(dir)) {
        const leased = [...leases].filter(([, count]) => count > 0).map(([chainId]) => chainId);
        if (name !== 'empty' && ![...live(), ...leased].some((chainId) => nameOf(chainId) === name)) await removeLayer(name);
      }
    },
    emptyDirectory: () => {
      const empty = path.join(dir, 'empty', 'fs');
      fs.mkdirSync(empty, { recursive: true, mode: 0o755 });
      return empty;
    },
  };
}
