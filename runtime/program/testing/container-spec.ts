// A container's spec for tests of planners: as little as there can be, with one volume. Tests spread it and say what they are about.
import type { BindMount, ContainerSpec } from '../spec.ts';

export const PLAIN_VOLUME: BindMount = {
  kind: 'bind',
  source: '/srv',
  target: '/data',
  sourceIsDirectory: true,
  readonly: false,
  recursiveReadonly: false,
  propagation: 'private',
};

export const PLAIN_CONTAINER: ContainerSpec = {
  rootfs: { lowerDirs: ['/l/1'], upperDir: '/c/upper', workDir: '/c/work', mountpoint: '/c/rootfs', readonly: false },
  namespaces: { net: 'join', ipc: 'join', uts: 'join', pid: 'new', cgroup: 'new', user: 'host' },
  process: {
    args: ['sh'],
    env: [],
    cwd: '/',
    user: { uid: 0, gid: 0, additionalGids: [] },
    capabilities: { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] },
    noNewPrivileges: false,
    rlimits: [],
    terminal: false,
  },
  mounts: [PLAIN_VOLUME],
  devices: [],
  maskedPaths: [],
  readonlyPaths: [],
  cgroup: { v1Procs: [] },
  privileged: false,
  cgroupMount: 'host-bind',
  keepsStdin: false,
  shmSource: '/s/shm',
};
