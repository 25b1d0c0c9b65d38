// Owns the way from the default profile to its filter.

import { SECCOMP_FILTER_FLAG_SPEC_ALLOW } from '../linux/constants.ts';
import type { Arch } from '../linux/numbers.ts';
import {
  ALLOW,
  AND,
  ARGS_AT,
  type Block,
  compileRanges,
  ENOSYS,
  EPERM,
  ERRNO,
  encodeFilter,
  end,
  forMachine,
  hostArch,
  type Instruction,
  JUMP_EQUAL,
  JUMP_GREATER_EQUAL,
  KILL_PROCESS,
  LOAD,
  MACHINES,
  type Machine,
  NR_AT,
  planRanges,
  X32_BIT,
} from './seccomp-bpf.ts';
import { seccompNumbers } from './seccomp-numbers.ts';
import { type Condition, type Profile, planDefaultProfile } from './seccomp-profile.ts';
import type { SeccompFilter } from './spec.ts';

/** Allowed when any of them holds, else EPERM. Arguments are compared as 64-bit numbers, in two halves. */
function compileConditions(conditions: readonly Condition[]): Block {
  return [...conditions.flatMap(compileCondition), end(ERRNO | EPERM)];
}

/** Returns ALLOW when it holds, and falls through when not. */
function compileCondition({ argument, operator, mask, value }: Condition): Instruction[] {
  const low = ARGS_AT + 8 * argument;
  if (mask !== undefined) return [[LOAD, 0, 0, low], [AND, 0, 0, mask], [JUMP_EQUAL, 0, 1, value], end(ALLOW)];
  if (operator === 'equal') return [[LOAD, 0, 0, low + 4], [JUMP_EQUAL, 0, 3, 0], [LOAD, 0, 0, low], [JUMP_EQUAL, 0, 1, value], end(ALLOW)];
  // The kernel reads an int: only the low half says what it is.
  return [[LOAD, 0, 0, low], [JUMP_EQUAL, 1, 0, value], end(ALLOW)];
}

const allow: Block = [end(ALLOW)];
const refuse: Block = [end(ERRNO | EPERM)];
const absent: Block = [end(ERRNO | ENOSYS)];

function compileTable(profile: Profile, machine: Machine): Block {
  const treatment = new Map<number, Block>();
  let last = 0;
  for (const [name, numbers] of Object.entries(seccompNumbers)) {
    const number = numbers[MACHINES[machine].column];
    if (number < 0) continue;
    last = Math.max(last, number);
    const conditions = profile.conditional.get(name);
    if (profile.allowed.has(name)) treatment.set(number, allow);
    else if (conditions !== undefined) treatment.set(number, compileConditions(conditions));
    else if (profile.absent.has(name)) treatment.set(number, absent);
  }
  // Calls newer than the profile do not exist, as far as libraries can tell: EPERM would stop them from using their older ways.
  return compileRanges(planRanges(treatment, last, { otherwise: refuse, newer: absent }));
}

/** An architecture that the profile does not know ends the process. */
export function compileProfile(profile: Profile, arch: Arch): Buffer {
  const x32: Block = [[LOAD, 0, 0, NR_AT], [JUMP_GREATER_EQUAL, 0, 1, X32_BIT], end(ERRNO | ENOSYS)];
  const tables =
    arch === 'arm64'
      ? forMachine('aarch64', compileTable(profile, 'aarch64'))
      : [...forMachine('x86_64', [...x32, ...compileTable(profile, 'x86_64')]), ...forMachine('i386', compileTable(profile, 'i386'))];
  return encodeFilter([...tables, end(KILL_PROCESS)]);
}

const compiled = new Map<string, SeccompFilter>();

/** The default profile for a bounding set of capabilities; compiled once for each. */
export function defaultSeccompFilter(bounding: readonly string[], arch: Arch = hostArch): SeccompFilter {
  const key = [arch, ...bounding].join(' ');
  let filter = compiled.get(key);
  if (filter === undefined) {
    filter = { programs: [compileProfile(planDefaultProfile(bounding), arch)], flags: SECCOMP_FILTER_FLAG_SPEC_ALLOW };
    compiled.set(key, filter);
  }
  return filter;
}
