// How a container mounts the pod's volumes: targets, propagation, parts of images.
import type { V1Container, V1Volume, V1VolumeMount } from '@kubernetes/client-node';
import { didYouMean, type Report } from './field-problem.ts';
import { checkAbsolutePath, checkOneOf } from './syntax.ts';

export function validateMounts(container: V1Container, volumes: readonly V1Volume[], path: string, report: Report): void {
  const names = volumes.map(({ name }) => name);
  const targets = new Map<string, number>();
  for (const [index, mount] of (container.volumeMounts ?? []).entries()) {
    const at = `${path}[${index}]`;
    const { name = '', mountPath = '' } = mount;
    if (name === '') report(`${at}.name`, 'a volumeMount needs the name of a volume');
    else if (!names.includes(name)) {
      const meant = didYouMean(name, names);
      report(`${at}.name`, `no volume ${name} in spec.volumes${meant ? `; did you mean ${meant}?` : '; add it there'}`);
    }
    report(`${at}.mountPath`, mountPath === '' ? 'a volumeMount needs a mountPath' : checkAbsolutePath(mountPath));
    const target = mountPath.replace(/\/+$/, '');
    const first = targets.get(target);
    if (first !== undefined) report(`${at}.mountPath`, `${mountPath} is mounted over twice, first by ${path}[${first}]`);
    else targets.set(target, index);
    if (mountPath === '/') report(`${at}.mountPath`, "a volume cannot take the place of the container's root");
    const privileged = container.securityContext?.privileged === true;
    validatePropagation(mount, privileged, at, report);
    validateSubPath(mount, at, report);
  }
}

function validatePropagation(mount: V1VolumeMount, privileged: boolean, path: string, report: Report): void {
  const { mountPropagation = 'None', recursiveReadOnly = 'Disabled', readOnly = false } = mount;
  report(`${path}.mountPropagation`, checkOneOf(mountPropagation, ['None', 'HostToContainer', 'Bidirectional']));
  if (mountPropagation === 'Bidirectional' && !privileged)
    report(`${path}.mountPropagation`, 'only a privileged container may pass its mounts on to the host (Bidirectional)');
  report(`${path}.recursiveReadOnly`, checkOneOf(recursiveReadOnly, ['Disabled', 'IfPossible', 'Enabled']));
  if (recursiveReadOnly === 'Disabled') return;
  if (!readOnly) report(`${path}.recursiveReadOnly`, `${recursiveReadOnly} needs readOnly: true beside it`);
  if (mountPropagation !== 'None') report(`${path}.recursiveReadOnly`, `${recursiveReadOnly} needs mountPropagation None`);
}

function validateSubPath(mount: V1VolumeMount, path: string, report: Report): void {
  for (const field of ['subPath', 'subPathExpr'] as const) {
    const text = mount[field] ?? '';
    if (text.startsWith('/')) report(`${path}.${field}`, `${JSON.stringify(text)} must be relative to the volume's root`);
    else if (text.split('/').includes('..')) report(`${path}.${field}`, `${JSON.stringify(text)} must not contain ".."`);
  }
  if (mount.subPath && mount.subPathExpr) report(`${path}.subPathExpr`, 'subPath stands beside it: keep one of the two');
}
