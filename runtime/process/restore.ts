// Owns the process of a container that criu restores.
import { openPidfd } from '../linux/pidfd.ts';
import { planRestoreProgram, type RestoreSpec } from '../program/restore-program.ts';
import { hostLimits } from './host-limits.ts';
import { type MadeOptions, type MadeStart, startMade } from './made.ts';
import { type ContainerProcess, openDirectory } from './shim.ts';

/** Resolves when the container goes on where its checkpoint was made. On failure its cgroup may hold what criu left: the caller kills it. */
export function restoreContainer(spec: Omit<RestoreSpec, 'recordId' | 'ignoredSignals'>, options: MadeOptions): Promise<ContainerProcess> {
  const { ignoredSignals } = hostLimits();
  const { cgroup, keepsStdin } = spec.container;
  const program = planRestoreProgram({ ...spec, recordId: options.recordId, ignoredSignals });
  const place: MadeStart['place'] = (descriptors) => {
    descriptors.place(descriptors.own(openPidfd(options.pausePid)), 'join');
    if (cgroup.unified !== undefined) descriptors.place(openDirectory(descriptors, cgroup.unified), 'cgroup');
  };
  return startMade({ program, keepsStdin, pipe: 'pidTarget', place }, options);
}
