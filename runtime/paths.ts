// Owns where things lie below root-dir and run-dir.
import { createHash } from 'node:crypto';
import path from 'node:path';

const DEFAULT_RUN_DIR = '/run/tskubelet';

/** "" for the default run-dir, else 6 hex digits that make host-wide names unique to this node. */
export function nodeSuffix(runDir: string): string {
  return path.resolve(runDir) === DEFAULT_RUN_DIR ? '' : createHash('sha256').update(path.resolve(runDir)).digest('hex').slice(0, 6);
}

export interface Paths {
  readonly rootDir: string;
  readonly runDir: string;
  readonly socket: string;
  readonly events: string;
  readonly images: string;
  readonly network: string;
  readonly networkRun: string;
  readonly sandboxes: string;
  readonly containers: string;
  sandboxRecord(id: string): string;
  /** resolv.conf, hosts, hostname and the tmpfs for /dev/shm. */
  sandboxRun(id: string): string;
  sandboxShm(id: string): string;
  containerDir(id: string): string;
  containerRecord(id: string): string;
  /** The empty directory that the overlay is mounted on, inside the container's mount namespace. */
  containerRootfs(id: string): string;
  /** FIFOs and the exit file. */
  containerRun(id: string): string;
  exitFile(id: string): string;
}

export function planPaths(rootDir: string, runDir: string): Paths {
  const sandboxes = path.join(rootDir, 'sandboxes');
  const containers = path.join(rootDir, 'containers');
  const sandboxRun = (id: string) => path.join(runDir, 'sandboxes', id);
  const containerRun = (id: string) => path.join(runDir, 'containers', id);
  return {
    rootDir,
    runDir,
    socket: path.join(runDir, 'cri.sock'),
    events: path.join(runDir, 'events'),
    images: path.join(rootDir, 'images'),
    network: path.join(rootDir, 'network'),
    networkRun: path.join(runDir, 'network'),
    sandboxes,
    containers,
    sandboxRecord: (id) => path.join(sandboxes, `${id}.json`),
    sandboxRun,
    sandboxShm: (id) => path.join(sandboxRun(id), 'shm'),
    containerDir: (id) => path.join(containers, id),
    containerRecord: (id) => path.join(containers, id, 'container.json'),
    containerRootfs: (id) => path.join(containers, id, 'rootfs'),
    containerRun,
    exitFile: (id) => path.join(containerRun(id), 'exit'),
  };
}
