// Owns which pods have names: those with an address that have not ended.
import { computeHostname } from '../pod/hosts.ts';
import type { PodWorker } from '../pod/worker.ts';
import { isFinished } from '../status/status.ts';
import type { ZonePod } from './zone.ts';

export function zonePods(workers: readonly PodWorker[]): ZonePod[] {
  return workers.flatMap(({ pod: { namespace, name }, desired, status }) => {
    const ips = (status?.podIPs ?? []).map(({ ip }) => ip);
    if (desired === undefined || ips.length === 0 || isFinished(status)) return [];
    const { subdomain = '', hostNetwork = false } = desired.pod.spec ?? {};
    return [{ namespace, name, hostname: computeHostname(desired.pod), subdomain, ips, hostNetwork }];
  });
}
