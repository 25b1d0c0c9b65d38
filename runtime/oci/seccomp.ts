// Owns the way from a seccomp profile to what an OCI bundle says of it: the rules that hold for this container, its capabilities and this
// machine, since bundles know no includes, excludes or archMap. Pure.
import { planArchitectures, planRules, type SeccompTarget } from '../program/seccomp-compile.ts';
import { type ArgumentTest, actionName, ERRNO_MASK, type OciSeccompProfile, type SeccompRule } from '../program/seccomp-oci.ts';
import type { OciSeccomp, OciSyscall, OciSyscallArgument } from './types.ts';

const ARCHITECTURES = { x86_64: 'SCMP_ARCH_X86_64', x32: 'SCMP_ARCH_X32', i386: 'SCMP_ARCH_X86', aarch64: 'SCMP_ARCH_AARCH64' } as const;

/** Calls newer than the profile need no word: runtimes answer them with ENOSYS by themselves, as our own filter does. */
export function planOciSeccomp(profile: OciSeccompProfile, target: SeccompTarget): OciSeccomp {
  const { name, errno } = describe(profile.defaultAction);
  return {
    defaultAction: name,
    ...(errno === undefined ? {} : { defaultErrnoRet: errno }),
    architectures: planArchitectures(profile, target.arch).map((architecture) => ARCHITECTURES[architecture]),
    ...(profile.flags.length === 0 ? {} : { flags: profile.flags }),
    syscalls: planRules(profile, target).map(planSyscall),
  };
}

function planSyscall({ names, action, args }: SeccompRule): OciSyscall {
  const { name, errno } = describe(action);
  return {
    names,
    action: name,
    ...(errno === undefined ? {} : { errnoRet: errno }),
    ...(args.length === 0 ? {} : { args: args.map(planArgument) }),
  };
}

function planArgument({ index, operator, value, valueTwo }: ArgumentTest): OciSyscallArgument {
  return { index, value, ...(operator === 'MASKED_EQ' ? { valueTwo } : {}), op: `SCMP_CMP_${operator}` };
}

function describe(action: number): { readonly name: string; readonly errno?: number } {
  const { name, hasErrno } = actionName(action);
  return hasErrno ? { name, errno: action & ERRNO_MASK } : { name };
}
