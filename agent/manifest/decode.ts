// YAML node to V1Pod against the table of schema.ts: types are checked, unknown fields and those not yet acted on reported.
// Decides nothing about values; that is validate.ts.
import type { V1Pod } from '@kubernetes/client-node';
import { decodeObject, type Vocabulary } from './decode-object.ts';
import { type FieldProblem, fieldOf } from './field-problem.ts';
import { podObjects } from './schema.ts';
import type { YamlMapping } from './yaml.ts';

const laterMessage = 'not yet acted on; the pod runs without it';

const vocabulary: Vocabulary = {
  objects: podObjects,
  laterMessage,
  homes: [
    ['PodSpec', 'spec'],
    ['Container', 'a container (spec.containers[])'],
    ['ObjectMeta', 'metadata'],
    ['SecurityContext', "a container's securityContext"],
    ['ResourceRequirements', "a container's resources"],
  ],
};

export interface Decoded {
  /** Fields that did not fit their type are absent. */
  readonly pod: V1Pod;
  readonly problems: readonly FieldProblem[];
}

/** path: where the pod stands in its document, such as "items[2]". */
export function decodePod(root: YamlMapping, path = ''): Decoded {
  const { value, problems } = decodeObject(vocabulary, 'Pod', root, path);
  const pod = value as V1Pod;
  return { pod, problems: settleVolumes(pod, problems, path) };
}

// A volume that nobody mounts does no harm where its kind is not supported.
function settleVolumes(pod: V1Pod, problems: readonly FieldProblem[], path: string): FieldProblem[] {
  const mounted = new Set((pod.spec?.containers ?? []).flatMap(({ volumeMounts = [] }) => volumeMounts.map(({ name }) => name)));
  const prefix = `${fieldOf(path, 'spec')}.volumes[`;
  return problems.map((problem) => {
    if (problem.severity !== 'refused' || !problem.message.startsWith('not yet') || !problem.fieldPath.startsWith(prefix)) return problem;
    const volume = pod.spec?.volumes?.[Number.parseInt(problem.fieldPath.slice(prefix.length), 10)];
    return volume && mounted.has(volume.name) ? problem : { ...problem, severity: 'later', message: laterMessage };
  });
}
