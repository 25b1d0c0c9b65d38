// Owns the writable directories of containers: <dir>/snapshots/<container>/{fs,work,snapshot.json}, or on a tmpfs below run-dir where
// <dir> lies on a filesystem that overlayfs cannot write to (an overlay, a network or host filesystem).
import fs from 'node:fs';
import path from 'node:path';
import { MS_NODEV, MS_NOSUID } from '../linux/constants.ts';
import { syscall, trySyscall } from '../linux/syscall.ts';
import type { Logger } from '../logger.ts';
import { readJsonFile, writeJsonFile } from '../state/json-file.ts';
import { readdirIfThere } from './content.ts';
import { type OverlaySupport, probeOverlay } from './overlay-probe.ts';
import type { Snapshot } from './store.ts';
import { measureSmallTree, type TreeUsage } from './usage.ts';

const UMOUNT_NOFOLLOW = 8;

export interface SnapshotRecord {
  readonly imageId: string;
  /** Chain IDs of the image's layers: they stay while this snapshot does. */
  readonly chain: readonly string[];
  /** Chains of the images that are mounted as volumes, by the reference that the request used. */
  readonly volumes?: Readonly<Record<string, readonly string[]>>;
}

export interface SnapshotStore {
  prepare(
    containerId: string,
    record: SnapshotRecord,
    lowerDirs: readonly string[],
    owner?: { uid?: number | undefined; gid?: number | undefined },
  ): Snapshot;
  remove(containerId: string): Promise<void>;
  usage(containerId: string): Promise<TreeUsage>;
  /** The record of a snapshot that was prepared before. */
  record(containerId: string): SnapshotRecord | undefined;
  /** Every container that has something here, with or without a record. */
  ids(): Promise<string[]>;
  /** The tmpfs that the writable directories are on, where they are on one. */
  inMemory(): string | undefined;
  /** What each snapshot uses. */
  records(): Iterable<SnapshotRecord>;
  /** Chain IDs in use by snapshots. */
  usedChains(): Iterable<string>;
}

export interface SnapshotTools {
  readonly logger: Logger;
  support(): OverlaySupport;
  /** Measures a tree of any size elsewhere. */
  measure(root: string): Promise<TreeUsage>;
}

export function createSnapshotStore(dir: string, runDir: string, { logger, support, measure }: SnapshotTools): SnapshotStore {
  // The records stay on disk even where the files are on a tmpfs: they name the owner before anything is made.
  const records = path.join(dir, 'snapshots');
  const tmpfs = path.join(runDir, 'snapshots');
  const note = path.join(dir, 'snapshots-in-memory.json');
  const known = new Map<string, SnapshotRecord>();
  for (const id of fs.existsSync(records) ? fs.readdirSync(records) : []) {
    const record = readJsonFile(path.join(records, id, 'snapshot.json')) as SnapshotRecord | undefined;
    if (record !== undefined) known.set(id, record);
  }
  let upperRoot: string | undefined;

  /** Decides once where upper directories can be. */
  function root(): string {
    upperRoot ??= choose();
    return upperRoot;
  }

  function choose(): string {
    if (support().upper) return records;
    mountTmpfs();
    const inMemory = probeOverlay(tmpfs);
    if (!inMemory.upper) {
      unmountTmpfs();
      logger.error(
        { dir, error: inMemory.reason },
        `overlayfs cannot be mounted on this host (${inMemory.reason}): containers cannot start`,
      );
      return records;
    }
    logger.warn(
      { dir, tmpfs },
      `${dir} cannot hold the writable layers of containers (${support().reason}); they are kept in memory at ${tmpfs} and end with the machine`,
    );
    return tmpfs;
  }

  // On the tmpfs there is nothing to sync.
  const isVolatile = () => root() === records && support().volatile;

  const isMounted = (): boolean => {
    const dev = fs.statSync(tmpfs, { throwIfNoEntry: false })?.dev;
    return dev !== undefined && dev !== fs.statSync(runDir).dev;
  };

  /** One of its own, even where run-dir is a tmpfs: containers that fill it must not stop the logs that are written through run-dir. */
  function mountTmpfs(): void {
    fs.mkdirSync(tmpfs, { recursive: true, mode: 0o711 });
    if (isMounted()) return;
    // Before mount(2), so that the mount has an owner should this process die right after it.
    writeJsonFile(note, { mounted: tmpfs });
    syscall('mount', 'tskubelet', tmpfs, 'tmpfs', MS_NOSUID | MS_NODEV, 'mode=0711');
  }

  /** Gives it back with the last snapshot; the next one mounts it again. A busy one stays. */
  function unmountTmpfs(): void {
    if (isMounted() && trySyscall('umount2', tmpfs, UMOUNT_NOFOLLOW) !== 0) return;
    fs.rmSync(note, { force: true });
    if (fs.existsSync(tmpfs)) fs.rmdirSync(tmpfs);
    upperRoot = undefined;
  }

  const home = (containerId: string): string => path.join(root(), containerId);
  const recordOf = (containerId: string): string => path.join(records, containerId, 'snapshot.json');

  async function ids(): Promise<string[]> {
    return [...new Set([...(await readdirIfThere(records)), ...(root() === records ? [] : await readdirIfThere(root()))])];
  }

  return {
    prepare: (containerId, record, lowerDirs, owner = {}) => {
      const [upperDir, workDir] = [path.join(home(containerId), 'fs'), path.join(home(containerId), 'work')];
      // Synchronous: eight small calls on the way of every container start, each shorter than the hop to another thread.
      fs.mkdirSync(path.join(records, containerId), { recursive: true, mode: 0o711 });
      if (!known.has(containerId)) writeJsonFile(recordOf(containerId), record);
      known.set(containerId, record);
      fs.mkdirSync(upperDir, { recursive: true });
      fs.mkdirSync(workDir, { recursive: true });
      // The kernel's note that nothing here was ever synced, which forbids another mount. It is the same boot, or the container's end.
      fs.rmSync(path.join(workDir, 'work/incompat/volatile'), { recursive: true, force: true });
      // The upper directory is what the container sees as "/": it takes the image's mode and owner.
      const top = fs.statSync(lowerDirs[0] ?? upperDir);
      fs.chownSync(upperDir, owner.uid ?? top.uid, owner.gid ?? top.gid);
      fs.chmodSync(upperDir, top.mode & 0o7777);
      if (owner.uid !== undefined || owner.gid !== undefined) fs.chownSync(workDir, owner.uid ?? 0, owner.gid ?? 0);
      return { lowerDirs, upperDir, workDir, isVolatile: isVolatile(), volumeDirs: new Map() };
    },
    remove: async (containerId) => {
      await fs.promises.rm(home(containerId), { recursive: true, force: true });
      // The record last: as long as it is there, a start after a crash knows that there may be something to remove.
      await fs.promises.rm(path.join(records, containerId), { recursive: true, force: true });
      known.delete(containerId);
      if (upperRoot === tmpfs && (await readdirIfThere(tmpfs)).length === 0) unmountTmpfs();
    },
    usage: async (containerId) => {
      const upper = path.join(home(containerId), 'fs');
      // Most containers write next to nothing: no thread is worth that.
      return (await measureSmallTree(upper)) ?? measure(upper);
    },
    ids,
    record: (containerId) => known.get(containerId),
    inMemory: () => (upperRoot === tmpfs ? tmpfs : undefined),
    records: () => known.values(),
    usedChains: () => [...known.values()].flatMap(({ chain, volumes = {} }) => [...chain, ...Object.values(volumes).flat()]),
  };
}
