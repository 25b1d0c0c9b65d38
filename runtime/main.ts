// Wires the runtime by hand and runs it: lock, kernel facilities, reconciliation, then the socket.

import fs from 'node:fs';
import path from 'node:path';
import { openNetwork } from '../cni/client.ts';
import { detectCgroupHost } from './cgroup/host.ts';
import {
  type CgroupRoot,
  cgroupProblem,
  ensureCgroupRoot,
  gatherCgroupRootFacts,
  planCgroupRoot,
  removeCgroupRoot,
} from './cgroup/root.ts';
import type { CgroupSettings, RuntimeContext } from './context.ts';
import { openDockerCredentials, planConfigFiles } from './credentials/docker-config.ts';
import { openImageStore } from './image/open.ts';
import type { ImageStore } from './image/store.ts';
import { lockDirectory } from './lock.ts';
import { keeperStarter } from './log/keeper.ts';
import { openLogPump } from './log/pump.ts';
import type { Logger } from './logger.ts';
import { findOciRuntimes } from './oci/runtimes.ts';
import { nodeSuffix, planPaths } from './paths.ts';
import { openEvents } from './process/events.ts';
import { reconcile } from './reconcile.ts';
import { openRunDir } from './run-dir.ts';
import { startCriServer } from './server/server.ts';
import { checkpointHandlers } from './service/checkpoints.ts';
import { containerHandlers } from './service/containers.ts';
import { imageAdminHandlers } from './service/image-admin.ts';
import { imageHandlers } from './service/images.ts';
import { createLifecycleEvents } from './service/lifecycle-events.ts';
import { nodeHandlers } from './service/node.ts';
import { sandboxHandlers } from './service/sandboxes.ts';
import { statsHandlers } from './service/stats.ts';
import { streamHandlers, streamingCallHandlers } from './service/streams.ts';
import { bootId } from './state/process-identity.ts';
import { openStreamingServer, type StreamingListen } from './streaming/server.ts';

export interface RuntimeOptions {
  readonly rootDir: string;
  readonly runDir: string;
  readonly version: string;
  readonly logger: Logger;
  readonly podCidrs: readonly string[];
  readonly nonMasqueradeCidrs?: readonly string[];
  readonly cniConfDir?: string;
  readonly cniBinDirs?: readonly string[];
  readonly cgroupRoot?: string;
  readonly registryConfigDir?: string;
  /** Name of a runtime handler to the executable of an external OCI runtime. */
  readonly runtimeHandlers?: Readonly<Record<string, string>>;
  readonly allowNoLimits: boolean;
  readonly streaming?: StreamingListen;
  /** Where the CRI socket is; <run-dir>/cri.sock by default. */
  readonly socket?: string;
}

export interface Runtime {
  readonly socket: string;
  readonly images: ImageStore;
  /**
   * Containers run on; gives the number of sandboxes that are left. When none is, what was made for this node on the machine goes too:
   * bridge, nft table, cgroup root, the keeper of the log pipe, run-dir. Images stay in root-dir.
   */
  close(): Promise<number>;
}

/** Where the crash tests make the daemon die: the environment names the point. */
function faultPoint(name: string): void {
  if (process.env.TSKUBELET_FAULT_POINT === name) process.kill(process.pid, 'SIGKILL');
}

export async function startRuntime(options: RuntimeOptions): Promise<Runtime> {
  const { rootDir, runDir, logger } = options;
  const paths = planPaths(rootDir, runDir);
  // The disk's word, not the memory's: it holds also when a start failed half way.
  const sandboxesLeft = () => namesIn(paths.sandboxes).length;
  const nothingLeft = () => sandboxesLeft() === 0 && namesIn(paths.containers).length === 0;
  const lock = lockDirectory(rootDir, '--root-dir');
  const closers: (() => Promise<void> | void)[] = [() => lock.release()];
  const close = async () => {
    for (const closer of closers.splice(0).reverse()) await closer();
    return sandboxesLeft();
  };
  try {
    const run = openRunDir(runDir, rootDir);
    const runLock = lockDirectory(runDir, '--run-dir');
    closers.push(() => {
      const clean = nothingLeft();
      if (clean) run.empty();
      runLock.release();
      if (clean) run.remove();
    });
    for (const directory of [
      paths.sandboxes,
      paths.containers,
      paths.network,
      path.join(runDir, 'containers'),
      path.join(runDir, 'sandboxes'),
    ])
      fs.mkdirSync(directory, { recursive: true, mode: 0o711 });
    const suffix = nodeSuffix(runDir);
    const { place, ...cgroups } = await openCgroups(options, suffix);
    closers.push(async () => {
      if (place !== undefined && nothingLeft()) await removeCgroupRoot(cgroups.host, place);
    });
    const events = await openEvents(paths.events);
    closers.push(() => events.close());
    const images = await openImageStore({
      dir: paths.images,
      runDir,
      logger,
      faultPoint,
      findCredentials: openDockerCredentials(planConfigFiles(process.env, rootDir)),
      ...(options.registryConfigDir === undefined ? {} : { registryConfigDir: options.registryConfigDir }),
    });
    closers.push(() => images.close());
    const network = await openNetwork({
      runDir: paths.networkRun,
      stateDir: paths.network,
      suffix: suffix === '' ? '' : `-${suffix}`,
      podCidrs: options.podCidrs,
      nonMasqueradeCidrs: options.nonMasqueradeCidrs ?? [],
      ...(options.cniConfDir === undefined ? {} : { confDir: options.cniConfDir }),
      ...(options.cniBinDirs === undefined ? {} : { binDirs: options.cniBinDirs }),
      faultPoint,
      onNotice: (sentence) => logger.warn({}, sentence),
    });
    closers.push(() => network.close({ remove: nothingLeft() }));
    const pump = await openLogPump({
      runDir,
      logger,
      startKeeper: keeperStarter({ v1Procs: [], ...(cgroups.shimDir === undefined ? {} : { unified: cgroups.shimDir }) }),
    });
    closers.push(() => pump.close());
    let recordId = Date.now() >>> 0;
    const context: RuntimeContext = {
      version: options.version,
      logger,
      paths,
      bootId: bootId(),
      images,
      network,
      pump,
      events,
      cgroups,
      lifecycle: createLifecycleEvents(),
      sandboxes: new Map(),
      containers: new Map(),
      names: new Map(),
      ociRuntimes: await findOciRuntimes(options.runtimeHandlers ?? {}),
      nextRecordId: () => {
        recordId = (recordId + 1) >>> 0;
        return recordId;
      },
      faultPoint,
    };
    await reconcile(context);
    const streaming = await openStreamingServer({ ...options.streaming, handlers: streamHandlers(context), logger });
    closers.push(() => streaming.close());
    const socketPath = options.socket ?? paths.socket;
    const server = await startCriServer({
      socketPath,
      handlers: {
        ...nodeHandlers(context),
        ...sandboxHandlers(context),
        ...containerHandlers(context),
        ...checkpointHandlers(context),
        ...statsHandlers(context),
        ...imageHandlers(context),
        ...imageAdminHandlers(context),
        ...streamingCallHandlers(context, streaming),
      },
      logger,
    });
    closers.push(() => server.close());
    return { socket: socketPath, images, close };
  } catch (error) {
    await close();
    throw error;
  }
}

function namesIn(directory: string): string[] {
  return fs.existsSync(directory) ? fs.readdirSync(directory) : [];
}

async function openCgroups(
  { cgroupRoot, allowNoLimits, logger }: RuntimeOptions,
  suffix: string,
): Promise<CgroupSettings & { readonly place?: CgroupRoot }> {
  const host = detectCgroupHost();
  const problem = cgroupProblem(host);
  if (problem !== undefined) {
    if (!allowNoLimits) throw new Error(problem);
    logger.warn({}, `pods run without limits: ${problem}`);
    return { host, root: '', enabled: false, shimDir: undefined };
  }
  const place = planCgroupRoot(gatherCgroupRootFacts(host, { ...(cgroupRoot === undefined ? {} : { flag: cgroupRoot }), suffix }));
  await ensureCgroupRoot(host, place);
  const shimDir = host.unified === undefined ? undefined : path.join(host.unified, place.shims);
  return { host, root: place.root === '/' ? '' : place.root, enabled: true, shimDir, place };
}
