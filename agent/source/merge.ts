// All files to one list of pods: two pods of one name, or one UID, are one too many.
import { keyOf } from './last-good.ts';
import type { DesiredPod, Problem, SourceUpdate } from './source.ts';

export interface FilePods {
  readonly pods: readonly DesiredPod[];
  readonly problems: readonly Problem[];
}

/** running: what the update before held. Of two pods of a name the one that runs stays, else the one whose file sorts first. */
export function mergeFiles(files: readonly FilePods[], running: readonly DesiredPod[]): SourceUpdate {
  const runs = new Set(running.map(placeOf));
  const candidates = files.flatMap(({ pods }) => pods);
  const ordered = [...candidates.filter((pod) => runs.has(placeOf(pod))), ...candidates.filter((pod) => !runs.has(placeOf(pod)))];
  const taken = new Map<string, DesiredPod>();
  const refused = new Map<DesiredPod, Problem>();
  for (const pod of ordered) {
    const uid = pod.pod.metadata?.uid ?? '';
    const holder = taken.get(keyOf(pod)) ?? taken.get(uid);
    if (holder) {
      refused.set(pod, explainClash(pod, holder));
      continue;
    }
    taken.set(keyOf(pod), pod);
    taken.set(uid, pod);
  }
  return {
    pods: candidates.filter((pod) => !refused.has(pod)),
    problems: [...files.flatMap(({ problems }) => problems), ...refused.values()],
  };
}

function placeOf(pod: DesiredPod): string {
  return JSON.stringify([pod.origin.file, keyOf(pod)]);
}

function explainClash(pod: DesiredPod, holder: DesiredPod): Problem {
  const { file, document } = holder.origin;
  const sameName = keyOf(pod) === keyOf(holder);
  const what = sameName ? `pod ${keyOf(pod)}` : `uid ${pod.pod.metadata?.uid}`;
  return {
    origin: pod.origin,
    fieldPath: sameName ? 'metadata.name' : 'metadata.uid',
    severity: 'refused',
    message: `${what} of ${pod.origin.file} is there already, from ${file} (document ${document}), and that one runs; rename or remove one of them`,
  };
}
