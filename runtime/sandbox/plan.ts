// Owns the translation of a CRI sandbox into the PauseSpec of its pause process. Pure.
import { NamespaceMode as Mode, type PodSandboxConfig } from '../../cri-proto/gen/api.ts';
import { planSandboxNamespaces } from '../container/namespaces.ts';
import { planIdMaps } from '../container/user-namespace.ts';
import type { PauseSpec } from '../program/spec.ts';
import { modeOf } from './modes.ts';
import { planTimeOffsets } from './time-offset.ts';

export function planPause(config: PodSandboxConfig): PauseSpec {
  const options = config.linux?.securityContext?.namespaceOptions;
  const timeOffsets = planTimeOffsets(config.annotations);
  return {
    namespaces: planSandboxNamespaces(options, timeOffsets !== undefined),
    ...planIdMaps(options),
    ...(timeOffsets === undefined ? {} : { timeOffsets }),
    // A sandbox in the host's network has the host's name.
    hostname: modeOf(config, 'network') === Mode.NODE ? '' : config.hostname,
    sysctls: config.linux?.sysctls ?? {},
    cgroup: { v1Procs: [] },
  };
}
