// Owns the calls about the runtime itself: Version, Status, RuntimeConfig, UpdateRuntimeConfig, GetContainerEvents.
import { checkPodCidrs, parseCidr } from '../../cni/client.ts';
import { CgroupDriver } from '../../cri-proto/gen/api.ts';
import type { RuntimeContext } from '../context.ts';
import { invalidArgument } from '../errors.ts';
import { renderRuntimeHandlers } from '../oci/runtimes.ts';
import { findUserNamespaceObstacle } from '../process/id-mapping.ts';
import type { CriHandlers } from '../server/handlers.ts';

export const RUNTIME_NAME = 'tskubelet';

export function nodeHandlers(context: RuntimeContext): CriHandlers {
  let obstacle: Promise<string | undefined> | undefined;
  /** Tried once, when someone asks: what a kernel offers does not change. */
  const userNamespaces = async (): Promise<boolean> => {
    obstacle ??= findUserNamespaceObstacle(context.events, context.nextRecordId(), context.paths.images).then((found) => {
      if (found !== undefined) context.logger.info({ obstacle: found }, 'pods cannot have user namespaces on this host');
      return found;
    });
    return (await obstacle) === undefined;
  };
  return {
    version: async () => ({
      version: '0.1.0',
      runtimeName: RUNTIME_NAME,
      runtimeVersion: context.version,
      runtimeApiVersion: 'v1',
    }),
    status: async ({ verbose }) => {
      const network = context.network.status();
      const features = { recursiveReadOnlyMounts: true, userNamespaces: await userNamespaces() };
      return {
        status: {
          conditions: [
            { type: 'RuntimeReady', status: true, reason: '', message: '' },
            { type: 'NetworkReady', status: network.ready, reason: network.reason, message: network.message },
          ],
        },
        info: verbose ? { config: JSON.stringify(renderConfig(context)), network: JSON.stringify(context.network.describe()) } : {},
        runtimeHandlers: renderRuntimeHandlers(context.ociRuntimes, features),
        features: { supplementalGroupsPolicy: true, userNamespacesHostNetwork: false, mountOptions: true },
      };
    },
    runtimeConfig: async () => ({ linux: { cgroupDriver: CgroupDriver.CGROUPFS } }),
    updateRuntimeConfig: async ({ runtimeConfig }) => {
      const cidrs = (runtimeConfig?.networkConfig?.podCidr ?? '').split(',').map((cidr) => cidr.trim());
      if (cidrs.join('') === '') return {};
      try {
        checkPodCidrs(cidrs.map(parseCidr));
      } catch (error) {
        throw invalidArgument(`pod_cidr "${cidrs.join(',')}"`, error);
      }
      await context.network.setPodCidrs(cidrs);
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
