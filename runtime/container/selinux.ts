// Owns the SELinux label of a container. As with containerd the options are of no effect where the host has no SELinux.
import fs from 'node:fs';
import type { LinuxContainerSecurityContext } from '../../cri-proto/gen/api.ts';
import { invalidArgument } from '../errors.ts';

export interface SelinuxLabels {
  readonly process: string;
  /** Of the files that it may write: the same level, so that containers of other levels may not. */
  readonly mount: string;
}

/** selinuxfs is mounted where a policy is in force. selinux(8) */
export function hasSelinux(): boolean {
  return fs.existsSync('/sys/fs/selinux/enforce');
}

/** What the options leave open is as container-selinux has it. */
export function planSelinuxLabels(security: LinuxContainerSecurityContext | undefined, enabled: boolean): SelinuxLabels | undefined {
  const options = security?.selinuxOptions;
  if (!enabled || options === undefined) return undefined;
  const { user, role, type, level } = options;
  if (user === '' && role === '' && type === '' && level === '') return undefined;
  for (const part of [user, role, type])
    if (!/^[A-Za-z0-9_.-]*$/.test(part)) throw invalidArgument(`selinux option "${part}" is not a plain name`);
  if (!/^[A-Za-z0-9_.,:-]*$/.test(level)) throw invalidArgument(`selinux level "${level}" is not of the form s0:c1,c2`);
  const range = level || 's0';
  return {
    process: [user || 'system_u', role || 'system_r', security?.privileged && type === '' ? 'spc_t' : type || 'container_t', range].join(
      ':',
    ),
    mount: ['system_u', 'object_r', 'container_file_t', range].join(':'),
  };
}
