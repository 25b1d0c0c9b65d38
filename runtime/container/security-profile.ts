// Owns how CRI names a security profile, seccomp's and AppArmor's alike: the message, or the string that older clients send. Pure.
import { SecurityProfile_ProfileType as ProfileType, type SecurityProfile } from '../../cri-proto/gen/api.ts';
import { invalidArgument } from '../errors.ts';

export type ProfileChoice =
  | { readonly kind: 'unsaid' }
  | { readonly kind: 'default' }
  | { readonly kind: 'unconfined' }
  /** A file for seccomp, the name of a loaded profile for AppArmor. */
  | { readonly kind: 'localhost'; readonly reference: string };

const PREFIX = 'localhost/';

function localhost(what: string, reference: string): ProfileChoice {
  const plain = reference.startsWith(PREFIX) ? reference.slice(PREFIX.length) : reference;
  if (plain === '') throw invalidArgument(`${what} profile of type Localhost without localhost_ref`);
  if (plain.includes('\0') || plain.includes('\n')) throw invalidArgument(`${what} profile ${JSON.stringify(plain)} is not one line`);
  return { kind: 'localhost', reference: plain };
}

/** The message wins over the string, as in containerd. */
export function planProfileChoice(what: 'seccomp' | 'apparmor', profile: SecurityProfile | undefined, spelled: string): ProfileChoice {
  if (profile === undefined) {
    if (spelled === '') return { kind: 'unsaid' };
    if (spelled === 'runtime/default' || (what === 'seccomp' && spelled === 'docker/default')) return { kind: 'default' };
    if (spelled === 'unconfined') return { kind: 'unconfined' };
    if (spelled.startsWith(PREFIX)) return localhost(what, spelled);
    throw invalidArgument(`${what} profile "${spelled}": use runtime/default, unconfined or localhost/NAME`);
  }
  switch (profile.profileType) {
    case ProfileType.RuntimeDefault:
      return { kind: 'default' };
    case ProfileType.Unconfined:
      return { kind: 'unconfined' };
    case ProfileType.Localhost:
      return localhost(what, profile.localhostRef);
    default:
      throw invalidArgument(`unknown type ${profile.profileType} of the ${what} profile`);
  }
}
