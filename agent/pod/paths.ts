// Owns where the files of a pod are. Pure.
import path from 'node:path';

export interface NodePaths {
  /** <root-dir>/pods */
  readonly podsDir: string;
  /** --log-dir: /var/log/pods */
  readonly logDir: string;
}

export interface PodName {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
}

export const podDir = ({ podsDir }: NodePaths, uid: string) => path.join(podsDir, uid);

export const hostsPath = (paths: NodePaths, uid: string) => path.join(podDir(paths, uid), 'etc-hosts');

/** Where localhostProfile names a file, as below the kubelet's own root directory. */
export const seccompDir = ({ podsDir }: NodePaths) => path.join(podsDir, '../seccomp');

/** plugin: "kubernetes.io/empty-dir"; the kubelet writes ~ for the slash. */
export const volumePath = (paths: NodePaths, uid: string, plugin: string, volume: string) =>
  path.join(podDir(paths, uid), 'volumes', plugin.replaceAll('/', '~'), volume);

/** Parts of volumes, mounted for single containers. */
export const subPathsDir = (paths: NodePaths, uid: string) => path.join(podDir(paths, uid), 'volume-subpaths');

export const podLogDir = ({ logDir }: NodePaths, { namespace, name, uid }: PodName) => path.join(logDir, `${namespace}_${name}_${uid}`);

/** Relative to the pod's log directory. */
export const containerLogPath = (container: string, restartCount: number) => path.join(container, `${restartCount}.log`);
