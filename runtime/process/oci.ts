// Owns the process of a container that an external OCI runtime makes.
import { type OciCreateSpec, planOciProgram } from '../program/oci-program.ts';
import { hostLimits } from './host-limits.ts';
import { type MadeOptions, type MadeStart, startMade } from './made.ts';
import { type ContainerProcess, placeUserNamespace } from './shim.ts';

/** Resolves when the runtime has created the container: its init waits to be told to start. Throws with nothing of ours left behind. */
export function createOciContainer(
  spec: Omit<OciCreateSpec, 'recordId' | 'ignoredSignals'>,
  options: MadeOptions,
): Promise<ContainerProcess> {
  const { ignoredSignals } = hostLimits();
  const program = planOciProgram({ ...spec, recordId: options.recordId, ignoredSignals });
  const place: MadeStart['place'] = (descriptors) => {
    // It maps the owners of the layers, when the root has an owner of its own.
    if (spec.rootOwner !== undefined) placeUserNamespace(descriptors, options.pausePid);
  };
  return startMade({ program, keepsStdin: spec.keepsStdin, pipe: 'join', place }, options);
}
