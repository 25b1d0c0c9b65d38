// Owns the wiring of the image store: content, layers, index, snapshots and the three ways by which an image comes.
import fs from 'node:fs';
import path from 'node:path';
import { invalidArgument, notFound } from '../errors.ts';
import { waitSyscall } from '../linux/syscall.ts';
import type { Logger } from '../logger.ts';
import { Serial } from '../serial.ts';
import { bootId } from '../state/process-identity.ts';
import { createImageAdmin } from './admin.ts';
import { createContentStore } from './content.ts';
import { digestOf } from './digest.ts';
import { createDownloads } from './downloads.ts';
import { createLayerMeasures, sumUsages } from './fs-usage.ts';
import { builtInHostImages, describeHostImage, fileIdentity, type HostImage, makeHostLayer } from './host-image.ts';
import { addImage, chainOf, findImage, imageOf, openImageIndex } from './image-index.ts';
import { importArchive } from './import.ts';
import { isDiskFull } from './ingest.ts';
import { createLayerStore } from './layers.ts';
import { parseConfig } from './manifest.ts';
import { type OverlaySupport, probeOverlay } from './overlay-probe.ts';
import type { ImageParts } from './parts.ts';
import { type PullRequest, pullImage } from './pull.ts';
import { createPullProgress } from './pull-progress.ts';
import { formatReference, parseReference, type Reference } from './reference.ts';
import { createSnapshotStore } from './snapshot.ts';
import type { FsUsage, ImageStore } from './store.ts';
import { createUnpackPool } from './unpack-pool.ts';

export interface ImageStoreOptions {
  readonly dir: string;
  readonly runDir: string;
  readonly logger: Logger;
  /** containerd-style directories with hosts.toml. */
  readonly registryConfigDir?: string;
  /** Credentials of this machine for a registry's host, for pulls that bring none. */
  readonly findCredentials?: PullRequest['findCredentials'];
  readonly faultPoint?: (name: string) => void;
}

const COLLECT_EVERY_MS = 60 * 60_000;

/** Opens the image store in `dir`; one process at a time may write to it. */
export async function openImageStore(options: ImageStoreOptions): Promise<ImageStore> {
  const { dir, runDir, logger, registryConfigDir, findCredentials, faultPoint = () => {} } = options;
  const ingestDir = path.join(dir, 'ingest');
  await fs.promises.mkdir(dir, { recursive: true, mode: 0o700 });
  // Containers and images bring setuid programs: no user of the host may find a way to them (CVE-2021-41103).
  await fs.promises.chmod(dir, 0o700);
  const content = createContentStore(path.join(dir, 'content'));
  const pool = createUnpackPool();
  const layers = createLayerStore(path.join(dir, 'layers'), ingestDir, bootId(), async (target, unpacked, lowerDirs) => {
    const { impliedDirectories, lowerLinks } = unpacked;
    if (impliedDirectories.length === 0 && lowerLinks.length === 0) return { sizeBytes: 0, inodes: 0 };
    return pool.complete({ target, impliedDirectories, lowerLinks, lowerDirs });
  });
  const downloads = createDownloads(path.join(dir, 'downloads'), ingestDir);
  const index = openImageIndex(
    path.join(dir, 'index.json'),
    (record) => content.has(record.id) && chainOf(record).every(layers.has),
    ({ id, repoTags }) => logger.warn({ id, repoTags }, 'an image of the index has lost layers or its config and must be pulled again'),
  );
  // One at a time: an image becoming visible, and the removal of what no image needs.
  const changes = new Serial();
  const syncing = new Serial();
  const pulls = new Map<string, { id: Promise<string>; abort: AbortController; waiting: number }>();
  const progress = createPullProgress();
  const hosts = new Map<string, Promise<string>>();
  /** Built-in host images that were removed: they come back by a pull, not by being asked about. */
  const removedHosts = new Set<string>();
  let probed: OverlaySupport | undefined;
  const support = (): OverlaySupport => (probed ??= probeOverlay(dir));
  const measures = createLayerMeasures(pool.measure);
  const snapshots = createSnapshotStore(dir, runDir, { logger, support, measure: pool.measure });

  const parts: ImageParts = {
    ingestDir,
    layers,
    pool,
    logger,
    support,
    downloads,
    readDocument: async (digest) => (content.has(digest) ? content.read(digest).catch(() => undefined) : undefined),
    faultPoint,
    commit: ({ documents, ...image }) =>
      changes.run(async () => {
        for (const [digest, bytes] of documents) await content.put(bytes, digest);
        faultPoint('image documents stored');
        // What the image takes on disk: its layers, and the documents that name them.
        const sizeBytes = [...documents.values()].reduce((total, { length }) => total + length, image.sizeBytes);
        index.replace(addImage(index.records(), { ...image, sizeBytes, blobs: [...documents.keys()] }));
        faultPoint('image named');
        void settle(chainOf(image));
      }),
  };

  /** Gets layers onto the disk behind everyone's back: right after an installation that may take many seconds. */
  function settle(chain: readonly string[]): Promise<void> {
    return syncing.run(async () => {
      const unsettled = layers.unsettled(chain);
      if (unsettled.length === 0) return;
      try {
        await syncFilesystem(dir);
        await layers.settle(unsettled);
      } catch (error) {
        logger.warn(
          { dir, error: error instanceof Error ? error.message : String(error) },
          'layers could not be written to disk; they are made anew after a reboot',
        );
      }
    });
  }

  // A daemon that ended in between has left that to this one.
  void settle([...new Set(index.records().flatMap(chainOf))]);

  function liveChains(): string[] {
    return [...index.records().flatMap(chainOf), ...snapshots.usedChains()];
  }

  function collect(): Promise<void> {
    return changes.run(async () => {
      await layers.collect(liveChains);
      await content.collect(new Set(index.records().flatMap(({ blobs }) => blobs)));
      await downloads.collect();
    });
  }

  // Parts of layers that nobody has come back for would otherwise wait for the next removal of an image.
  const ageing = setInterval(() => {
    collect().catch((error: unknown) => logger.warn({ err: error }, 'cannot remove what no image needs any more'));
  }, COLLECT_EVERY_MS);
  ageing.unref();

  const admin = createImageAdmin({
    ...{ index, changes, content, layers, snapshots, ingestDir, registryConfigDir, findCredentials, collect, fsUsage },
    layersApart: () => support().whiteouts,
    dropParts: () => downloads.collect(0),
    onUntag: (name) => {
      if (builtInHostImages[name] !== undefined) removedHosts.add(name);
    },
  });

  async function fsUsage(): Promise<FsUsage> {
    const homes = [...new Set(liveChains())].filter(layers.has).map((chainId) => path.dirname(layers.directory(chainId)));
    const [blobs, coming] = [await content.usage(), await downloads.usage()];
    const usages = [await pool.measure(ingestDir), ...(await Promise.all(homes.map(measures.read)))];
    for (const { bytes, inodes } of [blobs, coming]) usages.push({ usedBytes: BigInt(bytes), inodesUsed: BigInt(inodes) });
    return { mountpoint: dir, ...sumUsages(usages) };
  }

  /** Makes a host image unless the one that is there is still what the host has. */
  async function ensureHostImage(name: string, describe: () => Promise<HostImage>): Promise<string> {
    const present = findImage(index.records(), name);
    if (present?.host !== undefined && (await isUnchanged(present.host.sources))) return present.id;
    const { steps, diffId, config, sources } = await describe();
    const id = digestOf(config);
    const release = layers.lease([diffId]);
    try {
      await layers.ensure([diffId], () => (fsDir) => makeHostLayer(fsDir, steps));
      await parts.commit({
        id,
        repoTags: [name],
        repoDigests: [],
        diffIds: [diffId],
        sizeBytes: layers.usage(diffId).sizeBytes,
        pinned: true,
        config: parseConfig(config).config,
        host: { sources },
        documents: new Map([[id, config]]),
      });
    } finally {
      release();
    }
    if (present !== undefined && present.id !== id) await collect();
    logger.info({ image: name, id }, `assembled ${name} from this host's programs`);
    return id;
  }

  function hostImage(name: string): Promise<string> | undefined {
    const describe = builtInHostImages[name];
    if (describe === undefined) return undefined;
    const running = hosts.get(name) ?? ensureHostImage(name, describe).finally(() => hosts.delete(name));
    hosts.set(name, running);
    return running;
  }

  /** What can be run without any registry, for the sentence of a pull that could not reach one. */
  function usableOffline(): string[] {
    return [...new Set([...Object.keys(builtInHostImages), ...index.records().flatMap(({ repoTags }) => repoTags)])];
  }

  return {
    pull: async (text, { auth, signal } = {}) => {
      signal?.throwIfAborted();
      const reference = parsePulled(text);
      const name = formatReference(reference);
      const host = hostImage(name);
      if (host !== undefined) {
        removedHosts.delete(name);
        return host;
      }
      // "localhost" without a port names images that were made or imported here.
      const local = reference.domain === 'localhost' ? findImage(index.records(), name) : undefined;
      if (local !== undefined) return local.id;
      // One pull for all who want the same image with the same rights; it ends early when none of them waits any more.
      const key = JSON.stringify([name, auth ?? {}]);
      let pull = pulls.get(key);
      if (pull === undefined) {
        const abort = new AbortController();
        const report = progress.start(name);
        const wanted = { text, reference, auth, findCredentials, registryConfigDir, signal: abort.signal, usableOffline, report };
        const id = pullImage(parts, wanted)
          .catch(async (error: unknown) => {
            // Layers that came before the disk was full are no use to anybody, and their room is.
            if (isDiskFull(error)) await collect();
            throw error;
          })
          .finally(() => pulls.delete(key));
        pull = { id, abort, waiting: 0 };
        pulls.set(key, pull);
      }
      return waitForPull(pull, signal);
    },
    pulls: progress,
    list: () => index.records().map(imageOf),
    status: async (text) => {
      const name = normalName(text);
      if (name !== undefined && !removedHosts.has(name))
        await hostImage(name)?.catch((error: unknown) => logAbsentHostImage(logger, name, error));
      const record = findImage(index.records(), text);
      return record === undefined ? undefined : imageOf(record);
    },
    configDocument: (imageId) => content.read(imageId),
    remove: async (text) => {
      const record = findImage(index.records(), text);
      if (record === undefined) return;
      for (const tag of record.repoTags) if (builtInHostImages[tag] !== undefined) removedHosts.add(tag);
      await changes.run(async () => index.replace(index.records().filter(({ id }) => id !== record.id)));
      await collect();
    },
    import: (file) => importArchive(parts, file),
    ...admin,
    buildHost: async (name, binaries) => {
      const tag = hostImageName(name);
      if (builtInHostImages[tag] !== undefined) throw new Error(`${tag} is made by tskubelet itself; choose another name`);
      return ensureHostImage(tag, async () => describeHostImage(binaries));
    },
    layers: (imageId) => {
      const record = findImage(index.records(), imageId);
      if (record === undefined) throw notFound(`the image ${imageId} is not in the store`);
      return { imageId: record.id, lowerDirs: lowerDirsOf(chainOf(record)) };
    },
    prepareSnapshot: async (containerId, imageId, { ownerUid, ownerGid, volumes = [] } = {}) => {
      const image = findImage(index.records(), imageId);
      const record = snapshots.record(containerId) ?? (image && { imageId: image.id, chain: chainOf(image), volumes: chainsOf(volumes) });
      if (record === undefined) throw notFound(`the image ${imageId} is not in the store`);
      const mounted = Object.entries(record.volumes ?? {});
      const release = layers.lease([...record.chain, ...mounted.flatMap(([, chain]) => chain)]);
      try {
        const snapshot = snapshots.prepare(containerId, record, lowerDirsOf(record.chain), { uid: ownerUid, gid: ownerGid });
        return { ...snapshot, volumeDirs: new Map(mounted.map(([reference, chain]) => [reference, lowerDirsOf(chain)])) };
      } finally {
        release();
      }
    },
    removeSnapshot: async (containerId) => {
      const record = snapshots.record(containerId);
      const chain = [...(record?.chain ?? []), ...Object.values(record?.volumes ?? {}).flat()];
      await snapshots.remove(containerId);
      const live = new Set(liveChains());
      if (chain.some((chainId) => !live.has(chainId))) await collect();
    },
    snapshotUsage: async (containerId) => ({ mountpoint: snapshots.inMemory() ?? dir, ...(await snapshots.usage(containerId)) }),
    snapshotMountpoint: () => snapshots.inMemory() ?? dir,
    fsUsage,
    reconcile: async (containerIds) => {
      for (const id of await snapshots.ids()) if (!containerIds.has(id)) await snapshots.remove(id);
      await fs.promises.rm(ingestDir, { recursive: true, force: true });
      await collect();
    },
    close: async () => {
      clearInterval(ageing);
      for (const { abort } of pulls.values()) abort.abort(new Error('the image store is closing'));
      await Promise.allSettled([...[...pulls.values()].map(({ id }) => id), ...hosts.values()]);
      await pool.close();
      await syncing.run(async () => {});
    },
  };

  function chainsOf(references: readonly string[]): Record<string, readonly string[]> {
    return Object.fromEntries(
      references.map((reference) => {
        const record = findImage(index.records(), reference);
        if (record === undefined) throw notFound(`image "${reference}" of an image volume is not on this machine: pull it first`);
        return [reference, chainOf(record)];
      }),
    );
  }

  function lowerDirsOf(chain: readonly string[]): string[] {
    // Where layers could not be kept apart, each holds everything below it.
    const shown = support().whiteouts ? chain : chain.slice(-1);
    return shown.length === 0 ? [layers.emptyDirectory()] : shown.map(layers.directory).reverse();
  }
}

function parsePulled(text: string): Reference {
  try {
    return parseReference(text);
  } catch (error) {
    throw invalidArgument(error instanceof Error ? error.message : String(error));
  }
}

async function waitForPull(pull: { id: Promise<string>; abort: AbortController; waiting: number }, signal: AbortSignal | undefined) {
  pull.waiting++;
  let leave: (() => void) | undefined;
  try {
    if (signal === undefined) return await pull.id;
    const left = new Promise<never>((_, reject) => {
      leave = () => reject(signal.reason);
      signal.addEventListener('abort', leave, { once: true });
    });
    return await Promise.race([pull.id, left]);
  } finally {
    if (leave !== undefined) signal?.removeEventListener('abort', leave);
    if (--pull.waiting === 0) pull.abort.abort(signal?.reason ?? new Error('nobody waits for this pull'));
  }
}

async function isUnchanged(sources: Readonly<Record<string, string>>): Promise<boolean> {
  const same = await Promise.all(Object.entries(sources).map(async ([file, identity]) => (await fileIdentity(file)) === identity));
  return same.every(Boolean);
}

function normalName(text: string): string | undefined {
  try {
    return formatReference(parseReference(text));
  } catch {
    return undefined;
  }
}

/** Names of host images default to localhost/…:host. */
function hostImageName(name: string): string {
  const tagged = name.slice(name.lastIndexOf('/') + 1).includes(':') ? name : `${name}:host`;
  const reference = parseReference(name.includes('/') ? tagged : `localhost/${tagged}`);
  if (reference.digest !== undefined) throw new Error(`invalid image reference ${JSON.stringify(name)}: a host image has no digest`);
  return formatReference(reference);
}

function logAbsentHostImage(logger: Logger, image: string, error: unknown): void {
  logger.debug({ image, error: error instanceof Error ? error.message : String(error) }, 'a host image cannot be made');
}

/** syncfs(2): one call for all files of a layer, however many they are. */
async function syncFilesystem(dir: string): Promise<void> {
  const handle = await fs.promises.open(dir, 'r');
  try {
    await waitSyscall('syncfs', handle.fd);
  } finally {
    await handle.close();
  }
}
