// Owns what --config means: the fields of a KubeletConfiguration as the flags that they stand for. Flags that are given win.
import { type KubeletConfig, readKubeletConfig, renderConfigProblem } from '../config/kubelet-config.ts';
import { CommandError } from '../error.ts';
import type { Flags } from './flags.ts';

export function flagsOf(config: KubeletConfig): Flags {
  const {
    staticPodPath,
    fileCheckFrequencyMs,
    podLogsDir,
    cgroupRoot,
    podCidr,
    clusterDns,
    clusterDomain,
    resolvConf,
    readOnlyPort,
    containerRuntimeEndpoint,
    streamingConnectionIdleTimeoutMs,
    imageGcHighThresholdPercent,
    imageGcLowThresholdPercent,
    imageMinimumGcAgeMs,
    imageMaximumGcAgeMs,
  } = config;
  return {
    ...(staticPodPath === undefined ? {} : { manifests: [staticPodPath] }),
    ...(fileCheckFrequencyMs === undefined ? {} : { 'file-check-frequency': `${fileCheckFrequencyMs}ms` }),
    ...(podLogsDir === undefined ? {} : { 'log-dir': podLogsDir }),
    ...(cgroupRoot === undefined ? {} : { 'cgroup-root': cgroupRoot }),
    ...(podCidr === undefined ? {} : { 'pod-cidr': podCidr }),
    ...(clusterDns === undefined ? {} : { 'cluster-dns': clusterDns.join(',') }),
    ...(clusterDomain === undefined ? {} : { 'cluster-domain': clusterDomain }),
    ...(resolvConf === undefined ? {} : { 'resolv-conf': resolvConf }),
    ...(readOnlyPort === undefined ? {} : { 'read-only-port': String(readOnlyPort) }),
    ...(streamingConnectionIdleTimeoutMs === undefined
      ? {}
      : { 'streaming-connection-idle-timeout': `${streamingConnectionIdleTimeoutMs}ms` }),
    ...(imageGcHighThresholdPercent === undefined ? {} : { 'image-gc-high-threshold': String(imageGcHighThresholdPercent) }),
    ...(imageGcLowThresholdPercent === undefined ? {} : { 'image-gc-low-threshold': String(imageGcLowThresholdPercent) }),
    ...(imageMinimumGcAgeMs === undefined ? {} : { 'minimum-image-ttl-duration': `${imageMinimumGcAgeMs}ms` }),
    ...(imageMaximumGcAgeMs === undefined ? {} : { 'maximum-image-ttl-duration': `${imageMaximumGcAgeMs}ms` }),
    ...(containerRuntimeEndpoint === undefined ? {} : { 'container-runtime-endpoint': containerRuntimeEndpoint }),
  };
}

/** tell: what of the file is unknown, or not acted on. A file with a mistake in it is not used at all. */
export async function withConfig(flags: Flags, tell: (sentence: string) => void): Promise<Flags> {
  if (flags.config === undefined) return flags;
  const { config, problems } = await readKubeletConfig(flags.config);
  const sentences = (refused: boolean) =>
    problems
      .filter(({ severity }) => (severity === 'refused') === refused)
      .map((problem) => renderConfigProblem(flags.config ?? '', problem));
  const wrong = sentences(true);
  if (wrong.length > 0) throw new CommandError(wrong.join('\n'));
  for (const sentence of sentences(false)) tell(sentence);
  const { 'container-runtime-endpoint': endpoint, ...fromFile } = flagsOf(config);
  // One flag for another runtime's socket hides the other.
  const runtime = endpoint === undefined || flags['cri-socket'] !== undefined ? {} : { 'container-runtime-endpoint': endpoint };
  return { ...fromFile, ...runtime, ...flags };
}
