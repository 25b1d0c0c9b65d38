// Owns what is wrong with a sandbox's or container's config by itself, whatever this host has and does: told before anything is made.
// Every refusal is INVALID_ARGUMENT and names the field.
import path from 'node:path';
import {
  type ContainerConfig,
  MountPropagation,
  NamespaceMode,
  type PodSandboxConfig,
  Protocol,
  SecurityProfile_ProfileType,
  Signal,
  SupplementalGroupsPolicy,
} from '../../cri-proto/gen/api.ts';
import { checkResources } from '../container/merge-resources.ts';
import { invalidArgument } from '../errors.ts';

const MAX_SHOWN_CHARS = 64;
/** uid_t, without (uid_t) -1, which says "leave as it is" to chown(2) and setresuid(2). */
const MAX_ID = 2n ** 32n - 2n;

type Numbers = Readonly<Record<string, number>>;

/** Fields of enum type, wherever they stand. What a newer client may mean by an unknown number, nobody here can know. */
const ENUMS: Readonly<Record<string, readonly [words: string, numbers: Numbers]>> = {
  protocol: ['protocol', Protocol],
  network: ['namespace mode', NamespaceMode],
  pid: ['namespace mode', NamespaceMode],
  ipc: ['namespace mode', NamespaceMode],
  mode: ['namespace mode', NamespaceMode],
  propagation: ['mount propagation', MountPropagation],
  profileType: ['security profile type', SecurityProfile_ProfileType],
  supplementalGroupsPolicy: ['supplemental groups policy', SupplementalGroupsPolicy],
  stopSignal: ['stop signal', Signal],
};
const MAPS = new Set(['labels', 'annotations', 'sysctls', 'unified']);

/** Text of a request in a sentence: quoted, and cut where it is no sentence any more. */
export function shown(text: string): string {
  return `"${text.length > MAX_SHOWN_CHARS ? `${text.slice(0, MAX_SHOWN_CHARS)}…` : text}"`;
}

function checkEnums(message: object): void {
  for (const [field, value] of Object.entries(message)) {
    if (typeof value === 'number') {
      const [words, numbers] = ENUMS[field] ?? [];
      if (numbers !== undefined && !Object.values(numbers).includes(value)) throw invalidArgument(`there is no ${words} ${value}`);
    } else if (Array.isArray(value)) {
      for (const part of value) if (typeof part === 'object' && part !== null) checkEnums(part as object);
    } else if (typeof value === 'object' && value !== null && !(value instanceof Uint8Array) && !MAPS.has(field)) checkEnums(value);
  }
}

function checkId(field: string, id: bigint | undefined): void {
  if (id !== undefined && (id < 0n || id > MAX_ID)) throw invalidArgument(`${field} ${id} is not between 0 and ${MAX_ID}`);
}

interface Identities {
  readonly runAsUser?: { readonly value: bigint } | undefined;
  readonly runAsGroup?: { readonly value: bigint } | undefined;
  readonly supplementalGroups: readonly bigint[];
}

function checkIdentities(security: Identities | undefined): void {
  checkId('run_as_user', security?.runAsUser?.value);
  checkId('run_as_group', security?.runAsGroup?.value);
  for (const group of security?.supplementalGroups ?? []) checkId('supplemental_groups', group);
}

/** No step upwards, and nothing that would end the path early for the kernel. */
function leadsOut(text: string): boolean {
  return text.includes('\0') || text.split('/').includes('..');
}

function checkLogDirectory(directory: string): void {
  if (directory !== '' && (!path.isAbsolute(directory) || directory.includes('\0')))
    throw invalidArgument(`log_directory ${shown(directory)} is not an absolute path`);
}

export function checkSandbox(config: PodSandboxConfig): void {
  checkEnums(config);
  checkLogDirectory(config.logDirectory);
  if (/[\0/\n]/.test(config.hostname)) throw invalidArgument(`hostname ${shown(config.hostname)} is no host name`);
  const { linux } = config;
  if (linux === undefined) return;
  if (leadsOut(linux.cgroupParent)) throw invalidArgument(`cgroup_parent ${shown(linux.cgroupParent)} must not contain ".."`);
  for (const name of Object.keys(linux.sysctls))
    if (!/^[a-zA-Z0-9_]+([./-][a-zA-Z0-9_-]+)*$/.test(name)) throw invalidArgument(`sysctls: ${shown(name)} is not the name of a sysctl`);
  checkIdentities(linux.securityContext);
  for (const resources of [linux.overhead, linux.resources]) if (resources !== undefined) checkResources(resources);
}

export function checkContainer(config: ContainerConfig): void {
  checkEnums(config);
  for (const { containerPath, hostPath } of config.mounts) {
    if (leadsOut(containerPath)) throw invalidArgument(`mount: container_path ${shown(containerPath)} must not contain ".."`);
    if (hostPath !== '' && (!path.isAbsolute(hostPath) || hostPath.includes('\0')))
      throw invalidArgument(`mount: host_path ${shown(hostPath)} is not an absolute path`);
  }
  for (const { key } of config.envs)
    if (key === '' || /[=\0]/.test(key)) throw invalidArgument(`envs: ${shown(key)} is no name of an environment variable`);
  if (config.command[0] === '') throw invalidArgument('command: the name of the program is empty');
  for (const argument of [...config.command, ...config.args])
    if (argument.includes('\0')) throw invalidArgument(`command: ${shown(argument)} contains a NUL`);
  checkIdentities(config.linux?.securityContext);
  if (config.linux?.resources !== undefined) checkResources(config.linux.resources);
}
