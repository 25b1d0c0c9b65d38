// Owns the start of our own runtime in this process, from the settings of a daemon.
import type { Logger } from '../../runtime/logger.ts';
import { VERSION } from '../version.ts';
import type { EmbeddedRuntime, RuntimeHalf } from './runtime-half.ts';
import type { NodeSettings } from './settings.ts';

export function startEmbeddedRuntime(settings: NodeSettings, runtime: RuntimeHalf, logger: Logger): Promise<EmbeddedRuntime> {
  const { rootDir, runDir, podCidrs, nonMasqueradeCidrs, cgroupRoot, registryConfigDir, allowNoLimits, runtimeHandlers, streaming } =
    settings;
  const { cniConfDir, cniBinDirs } = settings;
  return runtime.start({
    ...{ rootDir, runDir, podCidrs, nonMasqueradeCidrs, allowNoLimits, runtimeHandlers, streaming, logger, version: VERSION },
    ...(cgroupRoot === undefined ? {} : { cgroupRoot }),
    ...(registryConfigDir === undefined ? {} : { registryConfigDir }),
    ...(cniConfDir === undefined ? {} : { cniConfDir }),
    ...(cniBinDirs === undefined ? {} : { cniBinDirs }),
  });
}
