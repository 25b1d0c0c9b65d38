// Owns layers on their way from registries: one transfer for all pulls that want a layer, a few at a time from one registry, into
// <dir>/<algorithm>-<hex>. A file there may be part of a layer; what an interrupted transfer leaves is where the next one starts, also
// after a restart of the daemon.
//
//   wanted ──▶ waiting for a place ──▶ coming ──▶ ready (whole, verified) ──▶ given back by all: removed
//                        └── given up, or the registry fails: the part stays for a day ──┘
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { hasCode } from '../linux/errno.ts';
import { BlobProgress } from './blob-feed.ts';
import { readdirIfThere } from './content.ts';
import { type Ingest, isDiskFull, openIngest } from './ingest.ts';
import { createPlaces } from './places.ts';
import type { RemoteBlob } from './registry.ts';
import { RegistryError } from './registry-error.ts';

/** From one registry at the same time, whatever the number of pulls. */
const DOWNLOADS_AT_ONCE = 4;
const KEEP_PARTS_MS = 24 * 60 * 60_000;
const NAME = /^(sha256|sha512)-([0-9a-f]+)$/;

export interface Wanted {
  /** Whose places the transfer takes: the registry's name. */
  readonly from: string;
  readonly signal: AbortSignal;
  /** Brings the rest of the blob, verified. */
  transfer(ingest: Ingest): Promise<void>;
  onBytes(receivedBytes: number): void;
}

/** A layer that is coming, or here. */
export interface Download {
  readonly file: string;
  readonly progress: BlobProgress;
  /** Settles when the file is whole and verified, or will not be. */
  readonly whole: Promise<void>;
  /** How often what had come turned out to be wrong, and came anew. */
  restarts(): number;
  /** Gives the file back: for good, or so that a later pull finds it. What is still coming for nobody else stops. */
  release(options: { keep: boolean }): Promise<void>;
}

export interface Downloads {
  /** Resolves when bytes are coming. */
  fetch(blob: RemoteBlob, wanted: Wanted): Promise<Download>;
  /** Removes what nobody goes on with, and has not for so long (a day). */
  collect(keepMs?: number): Promise<void>;
  usage(): Promise<{ bytes: number; inodes: number }>;
}

interface Waiting {
  readonly wanted: Wanted;
  /** Aborted when this one no longer wants it. */
  readonly left: AbortController;
  readonly started: PromiseWithResolvers<void>;
  readonly whole: PromiseWithResolvers<void>;
}

interface Entry {
  readonly blob: RemoteBlob;
  readonly progress: BlobProgress;
  restarts: number;
  /** Who wants it and does not have it whole, first come first. */
  waiting: Waiting[];
  isRunning: boolean;
  isReady: boolean;
  /** Somebody is through with it, or it turned out to be worthless. */
  isDone: boolean;
  users: number;
}

export function createDownloads(dir: string, ingestDir: string): Downloads {
  const entries = new Map<string, Entry>();
  const places = createPlaces(DOWNLOADS_AT_ONCE);
  const fileOf = (digest: string) => path.join(dir, digest.replace(':', '-'));

  /** Out of the way in the turn of the call, since the next pull may want the same layer; unlinking much takes its time. */
  async function remove(file: string): Promise<void> {
    const doomed = path.join(ingestDir, `removed-${randomUUID()}`);
    fs.mkdirSync(ingestDir, { recursive: true, mode: 0o700 });
    try {
      fs.renameSync(file, doomed);
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return;
      throw error;
    }
    await fs.promises.rm(doomed, { force: true });
  }

  async function forget(entry: Entry, { andFile }: { andFile: boolean }): Promise<void> {
    const { digest } = entry.blob;
    if (entries.get(digest) !== entry) return;
    entries.delete(digest);
    if (andFile) await remove(fileOf(digest)).catch(() => undefined);
  }

  /** Whoever wanted the layer first brings it. Should that one fail or leave, the next one goes on, with a registry and rights of its own. */
  async function run(entry: Entry): Promise<void> {
    entry.isRunning = true;
    for (let first = entry.waiting[0]; first !== undefined; first = entry.waiting[0]) {
      const signal = AbortSignal.any([first.wanted.signal, first.left.signal]);
      let error: unknown;
      try {
        const leave = await places.take(first.wanted.from, signal);
        try {
          await bring(entry, first, signal);
        } finally {
          leave();
        }
        entry.isReady = true;
        entry.progress.finish();
        for (const { started, whole } of entry.waiting.splice(0)) {
          started.resolve();
          whole.resolve();
        }
        break;
      } catch (caught) {
        error = signal.aborted ? signal.reason : caught;
      }
      const ended = isDiskFull(error) ? entry.waiting.splice(0) : [first];
      entry.waiting = entry.waiting.filter((each) => each !== first);
      // A part of what was refused is worth nothing, and a full disk needs the room; a part that was cut off is where the next pull goes on.
      const isPart = !isDiskFull(error) && (signal.aborted || (error instanceof RegistryError && error.isTransient));
      if (entry.waiting.length === 0 && !isPart) await forget(entry, { andFile: true });
      for (const { started, whole } of ended) {
        started.reject(error);
        whole.reject(error);
      }
    }
    entry.isRunning = false;
    if (entry.users === 0) await forget(entry, { andFile: entry.isReady && entry.isDone });
  }

  async function bring(entry: Entry, { wanted }: Waiting, signal: AbortSignal): Promise<void> {
    const { digest, sizeBytes } = entry.blob;
    await fs.promises.mkdir(dir, { recursive: true, mode: 0o700 });
    const onWritten = (bytes: number) => {
      entry.progress.advance(bytes);
      for (const each of entry.waiting) each.wanted.onBytes(bytes);
    };
    const ingest = await openIngest(fileOf(digest), { digest, sizeBytes, onWritten });
    try {
      for (const { started } of entry.waiting) started.resolve();
      await wanted.transfer({
        get receivedBytes() {
          return ingest.receivedBytes;
        },
        append: async (piece) => {
          signal.throwIfAborted();
          await ingest.append(piece);
        },
        flush: ingest.flush,
        restart: async () => {
          entry.restarts++;
          await ingest.restart();
        },
        digest: ingest.digest,
        close: ingest.close,
      });
    } finally {
      await ingest.close();
    }
  }

  function use(entry: Entry, { left, whole }: Waiting): Download {
    let isReleased = false;
    return {
      file: fileOf(entry.blob.digest),
      progress: entry.progress,
      whole: whole.promise,
      restarts: () => entry.restarts,
      release: async ({ keep }) => {
        if (isReleased) return;
        isReleased = true;
        entry.users--;
        entry.isDone ||= !keep;
        left.abort(new Error('the layer is no longer wanted'));
        // Who was bringing it has stopped writing by then.
        await whole.promise.catch(() => undefined);
        if (entry.users === 0 && !entry.isRunning) await forget(entry, { andFile: entry.isReady && entry.isDone });
      },
    };
  }

  return {
    fetch: async (blob, wanted) => {
      wanted.signal.throwIfAborted();
      const entry = entries.get(blob.digest) ?? {
        ...{ blob, progress: new BlobProgress(), restarts: 0, waiting: [], users: 0 },
        ...{ isRunning: false, isReady: false, isDone: false },
      };
      entries.set(blob.digest, entry);
      const me: Waiting = {
        ...{ wanted, left: new AbortController() },
        ...{ started: Promise.withResolvers<void>(), whole: Promise.withResolvers<void>() },
      };
      me.whole.promise.catch(() => undefined);
      entry.users++;
      const download = use(entry, me);
      if (entry.isReady) {
        me.whole.resolve();
        wanted.onBytes(blob.sizeBytes);
        return download;
      }
      entry.waiting.push(me);
      const leave = () => {
        // The one that brings it notices by itself.
        if (entry.waiting[0] === me || !entry.waiting.includes(me)) return;
        entry.waiting = entry.waiting.filter((each) => each !== me);
        const reason: unknown = wanted.signal.aborted ? wanted.signal.reason : me.left.signal.reason;
        me.started.reject(reason);
        me.whole.reject(reason);
      };
      for (const signal of [wanted.signal, me.left.signal]) signal.addEventListener('abort', leave, { once: true });
      if (!entry.isRunning) void run(entry);
      else if (entry.progress.arrivedBytes > 0) me.started.resolve();
      try {
        await me.started.promise;
      } catch (error) {
        await download.release({ keep: true });
        throw error;
      }
      return download;
    },
    collect: async (keepMs = KEEP_PARTS_MS) => {
      for (const name of await readdirIfThere(dir)) {
        const [, algorithm, hex] = NAME.exec(name) ?? [];
        const stat = await fs.promises.stat(path.join(dir, name)).catch(() => undefined);
        const isFresh = stat !== undefined && Date.now() - stat.mtimeMs < keepMs;
        if (algorithm !== undefined && (isFresh || entries.has(`${algorithm}:${hex}`))) continue;
        await remove(path.join(dir, name));
      }
    },
    usage: async () => {
      const names = await readdirIfThere(dir);
      const stats = await Promise.all(names.map((name) => fs.promises.stat(path.join(dir, name)).catch(() => undefined)));
      return { bytes: stats.reduce((total, stat) => total + (stat?.blocks ?? 0) * 512, 0), inodes: names.length };
    },
  };
}
