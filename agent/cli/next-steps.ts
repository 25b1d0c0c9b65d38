// Owns what a daemon tells its user to try next, as commands to paste. Pure.
import type { V1Pod } from '@kubernetes/client-node';
import { type Outcome, outcomeOf, renderOutcomes } from './settled.ts';

export interface NextStepsInput {
  readonly pods: readonly V1Pod[];
  /** How the program is called, and the flags that name this node to it. */
  readonly program: string;
  readonly where: string;
  readonly criSocket: string;
  /** "127.0.0.1:10255"; undefined when switched off. */
  readonly readOnly: string | undefined;
  readonly stopPodsOnExit: boolean;
  readonly manifests: readonly string[];
}

function nameOf({ metadata }: V1Pod): string {
  const namespace = metadata?.namespace ?? 'default';
  return `${metadata?.name}${namespace === 'default' ? '' : ` -n ${namespace}`}`;
}

/** The pod that shows the most: a running one, the one with a hostPort first. */
function choosePod(pods: readonly V1Pod[], wanted: Outcome): V1Pod | undefined {
  const found = pods.filter((pod) => outcomeOf(pod) === wanted);
  return found.find((pod) => hostPort(pod) !== undefined) ?? found[0];
}

function hostPort({ spec }: V1Pod): number | undefined {
  return spec?.containers.flatMap(({ ports }) => ports ?? []).find((port) => port.hostPort && (port.protocol ?? 'TCP') === 'TCP')?.hostPort;
}

export function renderNextSteps(input: NextStepsInput): string {
  const { pods, program, where, criSocket, readOnly } = input;
  const shown = choosePod(pods, 'runs') ?? pods[0];
  const failing = choosePod(pods, 'fails');
  const command = `${program}${where}`;
  const port = shown === undefined ? undefined : hostPort(shown);
  const steps: (readonly [string, string])[] = [
    [
      `${command} get pods -A${failing === undefined ? '' : ' -o wide'}`,
      failing === undefined ? 'all pods' : 'all pods, and what is wrong',
    ],
    ...(shown === undefined
      ? []
      : ([
          [`${command} logs -f ${nameOf(shown)}`, 'what it writes'],
          [`${command} explain ${nameOf(shown)} start`, 'the system calls that made it'],
        ] as const)),
    ...(port === undefined ? [] : ([[`curl http://127.0.0.1:${port}/`, "the pod's own port"]] as const)),
    [`crictl --runtime-endpoint unix://${criSocket} ps`, 'the same over CRI'],
    ...(readOnly === undefined ? [] : ([[`curl http://${readOnly}/metrics`, 'what Prometheus scrapes']] as const)),
  ];
  const width = Math.max(...steps.map(([line]) => line.length));
  return [
    '',
    `${renderOutcomes(pods.map(outcomeOf))}. Try next, in another terminal:`,
    ...steps.map(([line, about]) => `  ${line.padEnd(width)}   # ${about}`),
    ...(input.manifests.length === 0 ? [] : [`Add, change or remove a file in ${input.manifests.join(' or ')}: its pods follow.`]),
    `Ctrl-C ends tskubelet${input.stopPodsOnExit ? ' and its pods' : '; its pods run on'}.`,
    '',
    '',
  ].join('\n');
}
