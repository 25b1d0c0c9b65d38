// Owns CRI's list filters: fields are ANDed, labels match exactly, ids by unique prefix; an unknown or ambiguous id gives an empty list.
import type { ContainerFilter, PodSandboxFilter } from '../../cri-proto/gen/api.ts';
import type { ContainerRecord } from '../container/record.ts';
import { criContainerState, isVisible as isContainerVisible } from '../container/status.ts';
import { matchPrefix } from '../ids.ts';
import type { SandboxRecord } from '../sandbox/record.ts';
import { criSandboxState, isVisible as isSandboxVisible } from '../sandbox/status.ts';

type Labels = Readonly<Record<string, string>>;

function hasLabels(labels: Labels, selector: Labels): boolean {
  return Object.entries(selector).every(([key, value]) => labels[key] === value);
}

/** Whether a filter's id (or unique prefix) stands for an object; an empty one stands for all. */
function meansId(objects: ReadonlyMap<string, { readonly id: string }>, prefix: string): (id: string) => boolean {
  const [found, another] = matchPrefix(objects, prefix);
  return (id) => prefix === '' || (another === undefined && found?.id === id);
}

export function filterSandboxes(records: ReadonlyMap<string, SandboxRecord>, filter: PodSandboxFilter | undefined): SandboxRecord[] {
  const isMeant = meansId(records, filter?.id ?? '');
  return [...records.values()].filter(
    (record) =>
      isSandboxVisible(record) &&
      (filter === undefined ||
        (isMeant(record.id) &&
          (filter.state === undefined || filter.state.state === criSandboxState(record)) &&
          hasLabels(record.config.labels, filter.labelSelector))),
  );
}

export function filterContainers(
  records: ReadonlyMap<string, ContainerRecord>,
  sandboxes: ReadonlyMap<string, SandboxRecord>,
  filter: ContainerFilter | undefined,
): ContainerRecord[] {
  const isMeant = meansId(records, filter?.id ?? '');
  const isIn = meansId(sandboxes, filter?.podSandboxId ?? '');
  return [...records.values()].filter(
    (record) =>
      isContainerVisible(record) &&
      (filter === undefined ||
        (isMeant(record.id) &&
          isIn(record.sandboxId) &&
          (filter.state === undefined || filter.state.state === criContainerState(record)) &&
          hasLabels(record.config.labels, filter.labelSelector))),
  );
}
