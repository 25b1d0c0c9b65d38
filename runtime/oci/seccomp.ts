// Owns the way from a seccomp profile of ours to the OCI specification's words for it. Pure.
import type { Condition, Profile } from '../program/seccomp-profile.ts';
import type { OciSeccomp, OciSyscall, OciSyscallArgument } from './types.ts';

const EPERM = 1;
const ENOSYS = 38;
const ARCHITECTURES = { x64: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86'], arm64: ['SCMP_ARCH_AARCH64'] } as const;

/** Calls newer than the profile need no word: runtimes answer them with ENOSYS by themselves. */
export function planOciSeccomp(
  { allowed, conditional, absent }: Profile,
  arch: 'x64' | 'arm64' = process.arch === 'arm64' ? 'arm64' : 'x64',
): OciSeccomp {
  const conditions = [...conditional].flatMap(([name, any]) =>
    allowed.has(name) ? [] : any.map((condition): OciSyscall => ({ names: [name], action: 'SCMP_ACT_ALLOW', args: [argument(condition)] })),
  );
  const missing = [...absent];
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: EPERM,
    architectures: ARCHITECTURES[arch],
    syscalls: [
      { names: [...allowed].sort(), action: 'SCMP_ACT_ALLOW' },
      ...conditions,
      ...(missing.length === 0 ? [] : [{ names: missing, action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS }]),
    ],
  };
}

function argument({ argument: index, operator, mask, value }: Condition): OciSyscallArgument {
  if (mask !== undefined) return { index, value: BigInt(mask), valueTwo: BigInt(value), op: 'SCMP_CMP_MASKED_EQ' };
  return { index, value: BigInt(value), op: operator === 'equal' ? 'SCMP_CMP_EQ' : 'SCMP_CMP_NE' };
}
