// Owns the reading of a sandbox's namespace modes, with CRI's defaults where the request says nothing.
import { NamespaceMode as Mode, type NamespaceMode, type PodSandboxConfig } from '../../cri-proto/gen/api.ts';

export function modeOf(config: PodSandboxConfig, namespace: 'network' | 'ipc' | 'pid'): NamespaceMode {
  return config.linux?.securityContext?.namespaceOptions?.[namespace] ?? (namespace === 'pid' ? Mode.CONTAINER : Mode.POD);
}
