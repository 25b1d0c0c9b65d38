// Owns a node in this process: the embedded runtime (or another one's socket) and the agent on it, started and ended in order.
import type pino from 'pino';
import { type Agent, startAgent } from '../agent.ts';
import { VERSION } from '../version.ts';
import { startEmbeddedRuntime } from './embedded-runtime.ts';
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
  const { cgroupRoot, fileCheckFrequencyMs } = settings;
  const embedded = settings.foreignRuntime === undefined ? await startEmbeddedRuntime(settings, runtime, logger) : undefined;
  try {
    const agent = await startAgent({
      ...{ nodeName, rootDir, runDir, logDir, manifests, allowNoLimits, readOnlyAddress, readOnlyPort, logger, version: VERSION },
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
        return embedded?.close();
      },
    };
  } catch (error) {
    await embedded?.close();
    throw error;
  }
}
