// Owns which seccomp filter a container gets. A profile of the host is read when the container is created and kept in its record: what
// happens to the file afterwards changes no restart and no exec.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { LinuxContainerSecurityContext } from '../../cri-proto/gen/api.ts';
import { invalidArgument } from '../errors.ts';
import { seccompFilterOf } from '../program/seccomp-compile.ts';
import { DEFAULT_PROFILE, defaultSeccompFilter } from '../program/seccomp-default.ts';
import { type OciSeccompProfile, parseSeccompProfile } from '../program/seccomp-oci.ts';
import type { SeccompFilter } from '../program/spec.ts';
import { type ProfileChoice, planProfileChoice } from './security-profile.ts';

const MAX_PROFILE_BYTES = 4 << 20;

/** The filter of a bounding set; undefined: unconfined. */
export type FindSeccomp = (capabilities: readonly string[]) => SeccompFilter | undefined;

function planChoice(security: LinuxContainerSecurityContext | undefined): ProfileChoice {
  if (security?.privileged) return { kind: 'unconfined' };
  return planProfileChoice('seccomp', security?.seccomp, security?.seccompProfilePath ?? '');
}

/** The file that the request names, if any. */
export function seccompFile(security: LinuxContainerSecurityContext | undefined): string | undefined {
  const choice = planChoice(security);
  if (choice.kind !== 'localhost') return undefined;
  if (!path.isAbsolute(choice.reference)) throw invalidArgument(`seccomp profile "${choice.reference}" is not an absolute path`);
  return choice.reference;
}

/** The text of that file. */
export async function readSeccompProfile(security: LinuxContainerSecurityContext | undefined): Promise<string | undefined> {
  const file = seccompFile(security);
  if (file === undefined) return undefined;
  try {
    const { size } = await fs.promises.stat(file);
    if (size > MAX_PROFILE_BYTES) throw new Error(`is larger than ${MAX_PROFILE_BYTES} bytes`);
    return await fs.promises.readFile(file, 'utf8');
  } catch (error) {
    throw invalidArgument(`seccomp profile ${file}`, error);
  }
}

/** Without a word about seccomp there is none, as under containerd: clients that want the default profile say so. */
export function planSeccomp(security: LinuxContainerSecurityContext | undefined, profile: string | undefined): FindSeccomp {
  const choice = planChoice(security);
  if (choice.kind === 'unconfined' || choice.kind === 'unsaid') return () => undefined;
  if (choice.kind !== 'localhost') return defaultSeccompFilter;
  return (capabilities) => {
    try {
      return seccompFilterOf(profile ?? '', { capabilities, kernelRelease: os.release() });
    } catch (error) {
      throw invalidArgument(`seccomp profile ${choice.reference}`, error);
    }
  };
}

/** The same profile in words, for an external OCI runtime; undefined: unconfined. */
export function findSeccompProfile(
  security: LinuxContainerSecurityContext | undefined,
  profile: string | undefined,
): OciSeccompProfile | undefined {
  const { kind } = planChoice(security);
  if (kind === 'unconfined' || kind === 'unsaid') return undefined;
  return kind === 'localhost' ? parseSeccompProfile(profile ?? '') : DEFAULT_PROFILE;
}
