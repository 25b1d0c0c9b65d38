// Owns which sysctls a sandbox may set: those of the namespaces that it has to itself. Any other would change the host.
import { NamespaceMode as Mode, type PodSandboxConfig } from '../../cri-proto/gen/api.ts';
import { invalidArgument } from '../errors.ts';
import { sysctlPath } from '../program/pause-program.ts';
import { modeOf } from './modes.ts';

// ipc_namespaces(7)
const IPC = /^\/proc\/sys\/(kernel\/(msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced)|fs\/mqueue\/[^/]+)$/;
const UTS = /^\/proc\/sys\/kernel\/(hostname|domainname)$/;
const NET = /^\/proc\/sys\/net\//;

export function checkSysctls(config: PodSandboxConfig): void {
  for (const [name, value] of Object.entries(config.linux?.sysctls ?? {})) {
    const path = findPath(name);
    if (value.includes('\0')) throw invalidArgument(`sysctl ${name}: the value has a NUL byte`);
    if (UTS.test(path)) throw invalidArgument(`sysctl ${name}: the sandbox's hostname field says it`);
    const kind = NET.test(path) ? 'network' : IPC.test(path) ? 'ipc' : undefined;
    if (kind === undefined) throw invalidArgument(`sysctl ${name} has no namespace of its own: it would change the host; set it there`);
    if (modeOf(config, kind) === Mode.NODE)
      throw invalidArgument(`sysctl ${name} would change the host: the sandbox has no ${kind} namespace of its own`);
  }
}

function findPath(name: string): string {
  try {
    return sysctlPath(name);
  } catch (error) {
    throw invalidArgument('sysctl', error);
  }
}
