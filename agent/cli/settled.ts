// Owns when a node has settled after its start: each pod runs, has finished, or has said what is wrong. Pure.
import type { V1ContainerStatus, V1Pod } from '@kubernetes/client-node';

/** Waiting for these is progress, not a result. */
const PROGRESS = new Set(['ContainerCreating', 'PodInitializing']);

export type Outcome = 'runs' | 'finished' | 'fails' | 'starting';

function hasSettled({ state }: V1ContainerStatus): boolean {
  if (state?.running !== undefined || state?.terminated !== undefined) return true;
  return state?.waiting?.reason !== undefined && !PROGRESS.has(state.waiting.reason);
}

export function outcomeOf({ spec, status }: V1Pod): Outcome {
  if (status?.phase === 'Succeeded') return 'finished';
  if (status?.phase === 'Failed') return 'fails';
  const statuses = status?.containerStatuses ?? [];
  if (statuses.length < (spec?.containers.length ?? 0) || !statuses.every(hasSettled)) return 'starting';
  return statuses.some(({ state }) => state?.waiting !== undefined || (state?.terminated?.exitCode ?? 0) !== 0) ? 'fails' : 'runs';
}

/** "3 pods run, 1 has finished, 1 fails" */
export function renderOutcomes(outcomes: readonly Outcome[]): string {
  const words: readonly (readonly [Outcome, string, string])[] = [
    ['runs', 'runs', 'run'],
    ['finished', 'has finished', 'have finished'],
    ['fails', 'fails', 'fail'],
    ['starting', 'is still starting', 'are still starting'],
  ];
  const parts = words.flatMap(([outcome, one, many]) => {
    const count = outcomes.filter((other) => other === outcome).length;
    return count === 0 ? [] : [`${count} ${count === 1 ? one : many}`];
  });
  if (parts.length === 0) return 'no pods yet';
  return parts.join(', ').replace(/^(\d+)/, (count) => `${count} ${count === '1' ? 'pod' : 'pods'}`);
}
