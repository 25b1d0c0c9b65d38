// Owns the daemon `tskubelet --manifests …`: agent and runtime, from its first line to its last.
import { usageError } from '../error.ts';
import { createLogger } from '../logger.ts';
import { VERSION } from '../version.ts';
import type { Invocation } from './flags.ts';
import { renderNextSteps } from './next-steps.ts';
import { type Node, startNode } from './node.ts';
import { checkMachine } from './preflight.ts';
import type { RuntimeHalf } from './runtime-half.ts';
import { type NodeSettings, programName, readNodeSettings, renderWhere } from './settings.ts';
import { outcomeOf } from './settled.ts';
import { stopRequests } from './signals.ts';
import { logUncaught } from './uncaught.ts';

/** As long as a daemon waits for its pods before it says what to try. */
const SETTLE_MS = 15_000;
const LOOK_MS = 200;

function podsOf({ agent }: Node) {
  return agent.pods
    .list()
    .map((worker) => worker.view())
    .filter((pod) => pod !== undefined);
}

export async function runNode({ flags, words }: Invocation, runtime: RuntimeHalf): Promise<number> {
  if (words.length > 0) throw usageError(`unexpected "${words[0]}"`);
  const settings = readNodeSettings(flags);
  checkMachine();
  const logger = createLogger(settings.logFormat, settings.logLevel);
  logUncaught(logger);
  const stop = stopRequests(logger, 'left at once: pods run on without tskubelet, and the next start finds them');
  const { nodeName, foreignRuntime, stopPodsOnExit } = settings;
  logger.info(
    {},
    `tskubelet ${VERSION} starts as node ${nodeName}${foreignRuntime === undefined ? '' : ` on the runtime at ${foreignRuntime}`}`,
  );
  const node = await startNode(settings, runtime, logger);
  logger.info({}, `CRI at unix://${node.criSocket}, commands at ${node.agent.socket}${readOnlyWords(node, settings)}`);
  if (!stop.signal.aborted) void tellNextSteps(node, settings, stop.signal);
  await stop.first;

  const running = podsOf(node).length;
  if (stopPodsOnExit && running > 0) logger.info({}, `ending ${count(running, 'pod')} gracefully; Ctrl-C again leaves at once`);
  const left = await node.stop({ stopPods: stopPodsOnExit });
  logger.info({}, renderEnd(settings, left ?? (stopPodsOnExit ? 0 : running)));
  return 0;
}

const count = (number: number, noun: string) => `${number} ${noun}${number === 1 ? '' : 's'}`;

function readOnlyWords({ agent }: Node, { readOnlyAddress }: NodeSettings): string {
  return agent.readOnlyPort === undefined ? '' : `, metrics at http://${readOnlyAddress}:${agent.readOnlyPort}/metrics`;
}

/** The last line of a daemon: whether anything of it is left. */
export function renderEnd({ stopPodsOnExit, foreignRuntime, runDir, rootDir }: NodeSettings, left: number): string {
  if (left > 0 && stopPodsOnExit) return `ended with its pods; ${left} of the sandboxes that others made over CRI run on`;
  if (left > 0)
    return `ended; ${count(left, 'pod')} ${left === 1 ? 'runs' : 'run'} on, and the next start finds ${left === 1 ? 'it' : 'them'}`;
  if (foreignRuntime !== undefined) return 'ended; no pod of this node is left';
  return `ended; no pod is left and ${runDir} is clean; images stay in ${rootDir}`;
}

async function tellNextSteps(node: Node, settings: NodeSettings, signal: AbortSignal): Promise<void> {
  if (settings.logFormat !== 'text' || settings.logLevel === 'warn') return;
  const until = performance.now() + SETTLE_MS;
  const settled = () => {
    const pods = podsOf(node);
    return pods.length > 0 && pods.every((pod) => outcomeOf(pod) !== 'starting');
  };
  while (!settled() && performance.now() < until && !signal.aborted) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  if (signal.aborted) return;
  const { agent, criSocket } = node;
  const { readOnlyAddress, stopPodsOnExit, manifests } = settings;
  const readOnly = agent.readOnlyPort === undefined ? undefined : `${readOnlyAddress}:${agent.readOnlyPort}`;
  const facts = { criSocket, readOnly, stopPodsOnExit, manifests };
  process.stderr.write(renderNextSteps({ pods: podsOf(node), program: programName(), where: renderWhere(settings), ...facts }));
}
