// Owns what `run` makes of a pod's status: which logs there are to show, and what is so wrong that waiting is pointless. Pure.
import type { V1Pod } from '@kubernetes/client-node';
import { codeOfFailure } from './exit-code.ts';

export interface Complaint {
  readonly sentence: string;
  /** Nobody will change the manifest under `run`: what cannot start now is given up, with this code. */
  readonly exitCode?: number;
}

const HOPELESS = new Set([
  'ErrImagePull',
  'ImagePullBackOff',
  'ErrImageNeverPull',
  'InvalidImageName',
  'ImageInspectError',
  'CreateContainerConfigError',
  'CreateContainerError',
  'RunContainerError',
]);
const PROGRESS = new Set(['ContainerCreating', 'PodInitializing']);

export function complaintsOf({ metadata, status }: V1Pod): readonly Complaint[] {
  return (status?.containerStatuses ?? []).flatMap(({ name, state }) => {
    const about = `${metadata?.name}/${name}`;
    const { waiting, terminated } = state ?? {};
    if (waiting?.reason !== undefined && !PROGRESS.has(waiting.reason)) {
      const code = HOPELESS.has(waiting.reason) ? { exitCode: codeOfFailure(waiting.message ?? '') } : {};
      return [{ sentence: `${about}: ${wordsOf(waiting)}`, ...code }];
    }
    // An exit code speaks for itself; what the runtime has to say about an end does not show in the program's output.
    if (terminated?.message || terminated?.reason === 'OOMKilled') return [{ sentence: `${about}: ${wordsOf(terminated)}` }];
    return [];
  });
}

function wordsOf({ reason, message }: { reason?: string; message?: string }): string {
  return [reason, message].filter(Boolean).join(': ');
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
