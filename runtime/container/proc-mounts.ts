// Owns which mounts a container may have on /proc: a volume there would decide what the container's start reads and writes by paths in
// /proc (labels above all: CVE-2019-16884), and what every program in it believes of the kernel.
import { invalidArgument } from '../errors.ts';

/** What lxcfs and its like serve; runc allows the same. */
const REPLACEABLE = new Set([
  '/proc/cpuinfo',
  '/proc/diskstats',
  '/proc/loadavg',
  '/proc/meminfo',
  '/proc/slabinfo',
  '/proc/stat',
  '/proc/swaps',
  '/proc/sys/crypto/fips_enabled',
  '/proc/sys/kernel/ns_last_pid',
  '/proc/uptime',
]);

/** Throws for a mount on /proc that is neither such a file nor the host's own /proc. `target` is normalised. */
export function checkProcMount(target: string, hostPath: string): void {
  if (target !== '/proc' && !target.startsWith('/proc/')) return;
  if (REPLACEABLE.has(target) || (target === '/proc' && hostPath === '/proc')) return;
  throw invalidArgument(
    target === '/proc'
      ? `mount of /proc: its source must be /proc and not ${hostPath}`
      : `mount of ${target}: nothing may be mounted inside /proc but ${[...REPLACEABLE].join(', ')}`,
  );
}
