// Owns a node in this process: the embedded runtime (or another one's socket) and the agent on it, started and ended in order.
import fs from 'node:fs/promises';
import type pino from 'pino';
import { detectCgroupHost } from '../../runtime/cgroup/host.ts';
import { gatherCgroupRootFacts, planCgroupRoot, removeCgroupRoot } from '../../runtime/cgroup/root.ts';
import { type Agent, startAgent } from '../agent.ts';
import { openCredentials } from '../credentials/credentials.ts';
import { CommandError } from '../error.ts';
import { VERSION } from '../version.ts';
import { startEmbeddedRuntime } from './embedded-runtime.ts';
import { listens } from './listens.ts';
import type { RuntimeHalf } from './runtime-half.ts';
import type { NodeSettings } from './settings.ts';

export interface Node {
  readonly agent: Agent;
  readonly criSocket: string;
  /** The number of sandboxes that are left; undefined with another runtime, whose business they are. */
  stop(options: { readonly stopPods: boolean }): Promise<number | undefined>;
}

export async function startNode(settings: NodeSettings, runtime: RuntimeHalf, logger: pino.Logger): Promise<Node> {
  const { nodeName, rootDir, runDir, logDir, manifests, allowNoLimits, readOnlyAddress, readOnlyPort } = settings;
  const { cgroupRoot, fileCheckFrequencyMs, imageGc, dns } = settings;
  // Our own runtime's lock on root-dir keeps a second node out; another runtime has none.
  if (settings.foreignRuntime !== undefined && (await listens(settings.agentSocket)))
    throw new CommandError(`another tskubelet serves ${settings.agentSocket}; stop it or choose another --run-dir`);
  const embedded = settings.foreignRuntime === undefined ? await startEmbeddedRuntime(settings, runtime, logger) : undefined;
  try {
    const agent = await startAgent({
      ...{
        nodeName,
        rootDir,
        runDir,
        logDir,
        manifests,
        allowNoLimits,
        readOnlyAddress,
        readOnlyPort,
        imageGc,
        dns,
        logger,
        version: VERSION,
      },
      credentialsFor: await openCredentials(settings, logger),
      criEndpoint: embedded?.socket ?? settings.criSocket,
      cgroupSuffix: runtime.nodeSuffix(runDir),
      ...(cgroupRoot === undefined ? {} : { cgroupRoot }),
      ...(fileCheckFrequencyMs === undefined ? {} : { fileCheckFrequencyMs }),
    });
    return {
      agent,
      criSocket: embedded?.socket ?? settings.criSocket,
      async stop(options) {
        await agent.stop(options);
        if (embedded !== undefined) return embedded.close();
        await removeOwn(settings, runtime);
        return undefined;
      },
    };
  } catch (error) {
    await (embedded === undefined ? removeOwn(settings, runtime) : embedded.close());
    throw error;
  }
}

/** With another runtime: what the agent alone made for this node, where nothing is left in it. */
async function removeOwn({ runDir, cgroupRoot }: NodeSettings, { nodeSuffix }: RuntimeHalf): Promise<void> {
  const host = detectCgroupHost();
  const flag = cgroupRoot === undefined ? {} : { flag: cgroupRoot };
  await removeCgroupRoot(host, planCgroupRoot(gatherCgroupRootFacts(host, { ...flag, suffix: nodeSuffix(runDir) })));
  await fs.rmdir(runDir).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOTEMPTY' && error.code !== 'EBUSY') throw error;
  });
}
