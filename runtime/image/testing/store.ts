// Opens an image store of its own for a test, and looks at what it leaves on disk.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type ImageStoreOptions, openImageStore } from '../open.ts';
import type { ImageStore } from '../store.ts';

export interface TestStore {
  readonly dir: string;
  readonly runDir: string;
  readonly store: ImageStore;
  readonly lines: string[];
  /** Closes the store and opens it again, as a new daemon does. */
  reopen(): Promise<ImageStore>;
  /** Names below layers/ and ingest/, and the number of blobs. */
  leftovers(): { layers: string[]; ingest: string[]; blobs: number };
  close(): Promise<void>;
}

export async function openTestStore(
  parent = os.tmpdir(),
  options: Pick<ImageStoreOptions, 'registryConfigDir' | 'findCredentials'> = {},
): Promise<TestStore> {
  const home = fs.mkdtempSync(path.join(parent, 'images-'));
  const [dir, runDir] = [path.join(home, 'images'), path.join(home, 'run')];
  const lines: string[] = [];
  const log = (_: object, message: string) => void lines.push(message);
  const logger = { debug: log, info: log, warn: log, error: log };
  const open = () => openImageStore({ dir, runDir, logger, ...options });
  const names = (name: string) => (fs.existsSync(path.join(dir, name)) ? fs.readdirSync(path.join(dir, name)) : []);
  let store = await open();
  return {
    dir,
    runDir,
    lines,
    get store() {
      return store;
    },
    reopen: async () => {
      await store.close();
      store = await open();
      return store;
    },
    leftovers: () => ({ layers: names('layers'), ingest: names('ingest'), blobs: names('content/sha256').length }),
    close: async () => {
      await store.close();
      fs.rmSync(home, { recursive: true, force: true });
    },
  };
}
