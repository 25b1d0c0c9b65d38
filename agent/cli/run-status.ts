// Owns what `run` makes of a pod's status: which logs there are to show, and what is so wrong that waiting is pointless. Pure.
import type { V1Pod } from '@kubernetes/client-node';

export interface Complaint {
  readonly sentence: string;
  /** Nobody will change the manifest under `run`: what cannot start now is given up. */
  readonly isHopeless: boolean;
}

const HOPELESS = new Set([
  'ErrImagePull',
  'ImagePullBackOff',
  'ErrImageNeverPull',
  'InvalidImageName',
  'ImageInspectError',
  'CreateContainerConfigError',
  'CreateContainerError',
]);
const PROGRESS = new Set(['ContainerCreating', 'PodInitializing']);

export function complaintsOf({ metadata, status }: V1Pod): readonly Complaint[] {
  const name = metadata?.name ?? '';
  return (status?.containerStatuses ?? []).flatMap((container) => {
    const about = `${name}/${container.name}`;
    const { waiting, terminated } = container.state ?? {};
    const words = (state: { reason?: string; message?: string }) => [state.reason, state.message].filter(Boolean).join(': ');
    if (waiting?.reason !== undefined && !PROGRESS.has(waiting.reason))
      return [{ sentence: `${about}: ${words(waiting)}`, isHopeless: HOPELESS.has(waiting.reason) }];
    // An exit code speaks for itself; what the runtime has to say about an end does not show in the program's output.
    if (terminated?.message || terminated?.reason === 'OOMKilled')
      return [{ sentence: `${about}: ${words(terminated)}`, isHopeless: false }];
    return [];
  });
}

export interface ContainerRun {
  readonly container: string;
  readonly restart: number;
}

/** Runs of containers that have a log by now. */
export function runsOf({ status }: V1Pod): readonly ContainerRun[] {
  return (status?.containerStatuses ?? [])
    .filter(({ state, lastState }) => state?.running ?? state?.terminated ?? lastState?.terminated)
    .map(({ name, restartCount }) => ({ container: name, restart: restartCount }));
}
