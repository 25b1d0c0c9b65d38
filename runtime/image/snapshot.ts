// Owns the writable directories of containers: <dir>/snapshots/<container>/{fs,work,snapshot.json}, or on a tmpfs below run-dir where
// <dir> lies on a filesystem that overlayfs cannot write to (an overlay, a network or host filesystem).
import fs from 'node:fs';
import path from 'node:path';
import { syscall, trySyscall } from '../linux/syscall.ts';
import type { Logger } from '../logger.ts';
import { readJsonFile, writeJsonFile } from '../state/json-file.ts';
import { readdirIfThere } from './content.ts';
import { type OverlaySupport, probeOverlay } from './overlay-probe.ts';
import type { Snapshot } from './store.ts';
import { measureTree, type TreeUsage } from './usage.ts';

const TMPFS_MAGIC = 0x01021994;
const MS_NOSUID = 2;
const MNT_DETACH = 2;

export interface SnapshotRecord {
  readonly imageId: string;
  /** Chain IDs of the image's layers: they stay while this snapshot does. */
  readonly chain: readonly string[];
}

export interface SnapshotStore {
  prepare(
    containerId: string,
    record: SnapshotRecord,
    lowerDirs: readonly string[],
    owner?: { uid?: number | undefined; gid?: number | undefined },
  ): Promise<Snapshot>;
  remove(containerId: string): Promise<void>;
  usage(containerId: string): Promise<TreeUsage>;
  /** The record of a snapshot that was prepared before. */
  record(containerId: string): SnapshotRecord | undefined;
  /** Every container that has something here, with or without a record. */
  ids(): Promise<string[]>;
  /** Chain IDs in use by snapshots. */
  usedChains(): Iterable<string>;
}

export function createSnapshotStore(dir: string, runDir: string, logger: Logger, support: () => OverlaySupport): SnapshotStore {
  // The records stay on disk even where the files are on a tmpfs: they name the owner before anything is made.
  const records = path.join(dir, 'snapshots');
  const tmpfs = path.join(runDir, 'snapshots');
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
    fs.mkdirSync(tmpfs, { recursive: true, mode: 0o711 });
    const mounted = fs.statfsSync(tmpfs).type === TMPFS_MAGIC;
    if (!mounted) syscall('mount', 'tskubelet', tmpfs, 'tmpfs', MS_NOSUID, 'mode=0711');
    const inMemory = probeOverlay(tmpfs);
    if (!inMemory.upper) {
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

  const home = (containerId: string): string => path.join(root(), containerId);
  const recordOf = (containerId: string): string => path.join(records, containerId, 'snapshot.json');

  async function ids(): Promise<string[]> {
    return [...new Set([...(await readdirIfThere(records)), ...(root() === records ? [] : await readdirIfThere(root()))])];
  }

  return {
    prepare: async (containerId, record, lowerDirs, owner = {}) => {
      const [upperDir, workDir] = [path.join(home(containerId), 'fs'), path.join(home(containerId), 'work')];
      await fs.promises.mkdir(path.join(records, containerId), { recursive: true, mode: 0o711 });
      if (!known.has(containerId)) writeJsonFile(recordOf(containerId), record);
      known.set(containerId, record);
      await fs.promises.mkdir(upperDir, { recursive: true });
      await fs.promises.mkdir(workDir, { recursive: true });
      // The upper directory is what the container sees as "/": it takes the image's mode and owner.
      const top = await fs.promises.stat(lowerDirs[0] ?? upperDir);
      await fs.promises.chown(upperDir, owner.uid ?? top.uid, owner.gid ?? top.gid);
      await fs.promises.chmod(upperDir, top.mode & 0o7777);
      if (owner.uid !== undefined || owner.gid !== undefined) await fs.promises.chown(workDir, owner.uid ?? 0, owner.gid ?? 0);
      return { lowerDirs, upperDir, workDir };
    },
    remove: async (containerId) => {
      await fs.promises.rm(home(containerId), { recursive: true, force: true });
      // The record last: as long as it is there, a start after a crash knows that there may be something to remove.
      await fs.promises.rm(path.join(records, containerId), { recursive: true, force: true });
      known.delete(containerId);
      if (root() === tmpfs && (await readdirIfThere(tmpfs)).length === 0) unmountUnused();
    },
    usage: async (containerId) => measureTree(path.join(home(containerId), 'fs')),
    ids,
    record: (containerId) => known.get(containerId),
    usedChains: () => [...known.values()].flatMap(({ chain }) => chain),
  };

  /** Gives the tmpfs back with its last snapshot; the next one mounts it again. A busy one stays. */
  function unmountUnused(): void {
    const isMount = fs.statSync(tmpfs).dev !== fs.statSync(path.dirname(tmpfs)).dev;
    if (isMount && trySyscall('umount2', tmpfs, MNT_DETACH) === 0) upperRoot = undefined;
  }
}
