// Owns the calls about the runtime itself: Version, Status, RuntimeConfig, UpdateRuntimeConfig, GetContainerEvents.
import { CgroupDriver } from '../../cri-proto/gen/api.ts';
import type { RuntimeContext } from '../context.ts';
import type { CriHandlers } from '../server/handlers.ts';

export const RUNTIME_NAME = 'tskubelet';

const HANDLERS = ['', RUNTIME_NAME];

export function nodeHandlers(context: RuntimeContext): CriHandlers {
  return {
    version: async () => ({
      version: '0.1.0',
      runtimeName: RUNTIME_NAME,
      runtimeVersion: context.version,
      runtimeApiVersion: 'v1',
    }),
    status: async ({ verbose }) => {
      const network = context.network.status();
      return {
        status: {
          conditions: [
            { type: 'RuntimeReady', status: true, reason: '', message: '' },
            { type: 'NetworkReady', status: network.ready, reason: network.reason, message: network.message },
          ],
        },
        info: verbose ? { config: JSON.stringify(renderConfig(context)) } : {},
        runtimeHandlers: HANDLERS.map((name) => ({ name, features: { recursiveReadOnlyMounts: true, userNamespaces: false } })),
        features: { supplementalGroupsPolicy: true, userNamespacesHostNetwork: false, mountOptions: false },
      };
    },
    runtimeConfig: async () => ({ linux: { cgroupDriver: CgroupDriver.CGROUPFS } }),
    updateRuntimeConfig: async ({ runtimeConfig }) => {
      const cidr = runtimeConfig?.networkConfig?.podCidr ?? '';
      if (cidr !== '') await context.network.setPodCidrs(cidr.split(','));
      return {};
    },
    getContainerEvents: (_request, { signal }) => context.lifecycle.subscribe(signal),
  };
}

function renderConfig({ paths, cgroups }: RuntimeContext) {
  return {
    rootDir: paths.rootDir,
    runDir: paths.runDir,
    cgroups: { mode: cgroups.host.mode, root: cgroups.root, enabled: cgroups.enabled },
  };
}
