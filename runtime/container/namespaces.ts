// Owns which namespaces a container joins, gets anew or shares with the host, from CRI's namespace options.
import { NamespaceMode as Cri, type NamespaceOption } from '../../cri-proto/gen/api.ts';
import { invalidArgument } from '../errors.ts';
import type { Namespaces } from '../program/spec.ts';
import { checkSameUserNamespace, planIdMaps } from './user-namespace.ts';

/** The pause process' namespaces: it holds what the containers of the sandbox share. */
export function planSandboxNamespaces(options: NamespaceOption | undefined, ownTime = false): Omit<Namespaces, 'cgroup'> {
  const own = (mode: number | undefined) => (mode === Cri.NODE ? 'host' : 'new');
  if (options?.pid === Cri.TARGET) throw invalidArgument('a sandbox cannot join the PID namespace of a target container');
  return {
    net: own(options?.network),
    ipc: own(options?.ipc),
    // A sandbox in the host's network has the host's name too, as with containerd.
    uts: own(options?.network),
    pid: options?.pid === Cri.POD ? 'new' : 'host',
    user: planIdMaps(options) === undefined ? 'host' : 'new',
    ...(ownTime ? { time: 'new' as const } : {}),
  };
}

/** A container's namespaces. NET, IPC and UTS follow the sandbox; PID may be the container's, the sandbox's, the host's or a target's. */
export function planContainerNamespaces(
  sandbox: NamespaceOption | undefined,
  container: NamespaceOption | undefined,
  ownTime = false,
): Namespaces {
  const shared = (mode: number | undefined) => (mode === Cri.NODE ? 'host' : 'join');
  checkSameUserNamespace(sandbox, container);
  const maps = planIdMaps(sandbox);
  const pid = container?.pid ?? sandbox?.pid ?? Cri.CONTAINER;
  return {
    net: shared(sandbox?.network),
    ipc: shared(sandbox?.ipc),
    uts: shared(sandbox?.network),
    pid: pid === Cri.CONTAINER ? 'new' : pid === Cri.NODE ? 'host' : 'join',
    cgroup: 'new',
    user: maps === undefined ? 'host' : 'join',
    ...(ownTime ? { time: 'join' as const } : {}),
  };
}
