// Owns a container's process: started, and adopted again after a restart of the daemon.
import fs from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { hasCode } from '../linux/errno.ts';
import { copyDescriptor, openPidfd, pidOf } from '../linux/pidfd.ts';
import { planContainerProgram } from '../program/container-program.ts';
import { FD } from '../program/records.ts';
import type { ContainerSpec } from '../program/spec.ts';
import { isAlive, type ProcessIdentity } from '../state/process-identity.ts';
import type { Descriptors } from './descriptors.ts';
import type { Events } from './events.ts';
import { hostLimits } from './host-limits.ts';
import { type ContainerProcess, ExitWatch, openDirectory, placeUserNamespace, type ShimOptions, startShim } from './shim.ts';

export type { ContainerProcess } from './shim.ts';
export { createStdio, endStdin, openStdin, type StdioOptions } from './stdio.ts';

/** How long an adopted shim may still be about to clone its init. */
const CLONE_MS = 5000;

export interface StartContainerOptions extends ShimOptions {
  readonly pausePid: number;
  /** Whose PID namespace is joined instead of the sandbox's; the caller's to close. */
  readonly targetPidfd?: number;
}

/** Resolves when init has executed its program. Throws ProgramError naming the refused step, with nothing left behind. */
export async function startContainer(spec: ContainerSpec, options: StartContainerOptions): Promise<ContainerProcess> {
  const inUserns = spec.namespaces.user !== 'host';
  // Root of a user namespace has all capabilities there, whatever the daemon lacks.
  const host = { ...hostLimits(), ...(inUserns ? { availableCapabilities: -1n } : {}) };
  const program = planContainerProgram(spec, { recordId: options.recordId, ...host });
  const place = (descriptors: Descriptors) => {
    placeNamespaces(descriptors, spec, options);
    if (spec.cgroup.unified !== undefined) descriptors.place(openDirectory(descriptors, spec.cgroup.unified), 'cgroup');
  };
  return startShim({ program, keepsStdin: spec.keepsStdin, place }, options);
}

function placeNamespaces(descriptors: Descriptors, { namespaces }: ContainerSpec, { pausePid, targetPidfd }: StartContainerOptions): void {
  const pause = descriptors.own(openPidfd(pausePid));
  descriptors.place(pause, 'join');
  if (namespaces.pid === 'join') descriptors.place(targetPidfd ?? pause, 'pidTarget');
  if (namespaces.user !== 'host') placeUserNamespace(descriptors, pausePid);
}

export interface AdoptOptions {
  readonly events: Events;
  readonly recordId: number;
  readonly shim: ProcessIdentity;
  readonly exitFile: string;
}

/** The container of a shim that an earlier daemon started; undefined when the shim is gone, or never got as far as its init. */
export async function adoptContainer({ events, recordId, shim, exitFile }: AdoptOptions): Promise<ContainerProcess | undefined> {
  let shimPidfd: number;
  try {
    shimPidfd = openPidfd(shim.pid);
  } catch (error) {
    if (hasCode(error, 'ESRCH')) return undefined;
    throw error;
  }
  // Compared after the pidfd is open: from here on it is this process or none.
  const initPidfd = isAlive(shim) ? await findInit(shimPidfd, shim) : undefined;
  if (initPidfd === undefined) {
    fs.closeSync(shimPidfd);
    return undefined;
  }
  const running = { initPid: pidOf(initPidfd) ?? 0, initPidfd, shimPid: shim.pid, shimPidfd, warnings: [] };
  return new ExitWatch(events, recordId, exitFile).follow(running);
}

async function findInit(shimPidfd: number, shim: ProcessIdentity): Promise<number | undefined> {
  const deadline = performance.now() + CLONE_MS;
  for (;;) {
    try {
      return copyDescriptor(shimPidfd, FD.init);
    } catch (error) {
      if (hasCode(error, 'ESRCH')) return undefined;
      if (!hasCode(error, 'EBADF')) throw error;
    }
    if (performance.now() > deadline || !isAlive(shim)) return undefined;
    await delay(20);
  }
}
