// Owns the translation of a CRI sandbox into the PauseSpec of its pause process. Pure.
import { NamespaceMode as Mode, type PodSandboxConfig } from '../../cri-proto/gen/api.ts';
import { planSandboxNamespaces } from '../container/namespaces.ts';
import type { PauseSpec } from '../program/spec.ts';
import { modeOf } from './modes.ts';

export function planPause(config: PodSandboxConfig): PauseSpec {
  return {
    namespaces: planSandboxNamespaces(config.linux?.securityContext?.namespaceOptions),
    // A sandbox in the host's network has the host's name.
    hostname: modeOf(config, 'network') === Mode.NODE ? '' : config.hostname,
    sysctls: config.linux?.sysctls ?? {},
    cgroup: { v1Procs: [] },
  };
}
