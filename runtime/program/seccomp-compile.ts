// Owns what a seccomp profile means: a filter for this machine and container, of one program or several. Where rules meet, it is as with
// libseccomp: a rule without arguments wins over those with, the first of either wins over later ones.

import { SECCOMP_FILTER_FLAG_LOG, SECCOMP_FILTER_FLAG_SPEC_ALLOW, SECCOMP_FILTER_FLAG_TSYNC } from '../linux/constants.ts';
import type { Arch } from '../linux/numbers.ts';
import {
  ALLOW,
  AND,
  ARGS_AT,
  type Block,
  compileRanges,
  ENOSYS,
  ERRNO,
  encodeFilter,
  end,
  forMachine,
  hostArch,
  type Instruction,
  JUMP_EQUAL,
  JUMP_GREATER,
  JUMP_GREATER_EQUAL,
  KILL_PROCESS,
  LOAD,
  MACHINES,
  MAX_INSTRUCTIONS,
  type Machine,
  NR_AT,
  nativeMachine,
  planRanges,
  type Range,
  X32_BIT,
} from './seccomp-bpf.ts';
import { seccompNumbers } from './seccomp-numbers.ts';
import {
  type ArgumentTest,
  type OciSeccompProfile,
  parseSeccompProfile,
  type SeccompArchitecture,
  type SeccompRule,
} from './seccomp-oci.ts';
import type { SeccompFilter } from './spec.ts';

/** MAX_INSNS_PER_PATH of kernel/seccomp.c: all programs of a process together, each counted with 4 more. */
const MAX_TOTAL_INSTRUCTIONS = 32768;
const PROGRAM_OVERHEAD = 4;
const FLAGS: Readonly<Record<string, number>> = {
  SECCOMP_FILTER_FLAG_TSYNC,
  SECCOMP_FILTER_FLAG_LOG,
  SECCOMP_FILTER_FLAG_SPEC_ALLOW,
};
const LOG_ACTION = 0x7ffc0000;
const GO_ARCH = { x64: 'amd64', arm64: 'arm64' } as const;

export interface SeccompTarget {
  /** The container's bounding set, for includes and excludes. */
  readonly capabilities: readonly string[];
  /** "6.1.0-13-cloud-amd64", for minKernel. */
  readonly kernelRelease: string;
  readonly arch?: Arch;
}

function reaches(release: string, minimum: string): boolean {
  const [major = 0, minor = 0] = release.split('.').map((part) => Number.parseInt(part, 10));
  const [wantedMajor = 0, wantedMinor = 0] = minimum.split('.').map((part) => Number.parseInt(part, 10));
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}

/** Every condition of includes must hold, and none of excludes. */
function applies({ includes, excludes }: SeccompRule, { capabilities, kernelRelease, arch = hostArch }: SeccompTarget): boolean {
  const included =
    (includes.arches.length === 0 || includes.arches.includes(GO_ARCH[arch])) &&
    includes.caps.every((name) => capabilities.includes(name)) &&
    (includes.minKernel === '' || reaches(kernelRelease, includes.minKernel));
  const excluded =
    excludes.arches.includes(GO_ARCH[arch]) ||
    excludes.caps.some((name) => capabilities.includes(name)) ||
    (excludes.minKernel !== '' && reaches(kernelRelease, excludes.minKernel));
  return included && !excluded;
}

/** Where a comparison goes: on to the next one, or away from the rule. */
type Target = 'pass' | 'fail' | 'next';
type Step = Instruction | readonly [code: number, whenTrue: Target, whenFalse: Target, k: number];

const low32 = (value: bigint) => Number(value & 0xffffffffn);
const high32 = (value: bigint) => Number(value >> 32n);

/** The kernel's machine has 32 bits: the high half decides unless it is equal. */
function compare({ index, operator, value, valueTwo }: ArgumentTest): readonly Step[] {
  const low: Instruction = [LOAD, 0, 0, ARGS_AT + 8 * index];
  const high: Instruction = [LOAD, 0, 0, ARGS_AT + 8 * index + 4];
  const equal = (yes: Target, no: Target): Step[] => [
    high,
    [JUMP_EQUAL, 'next', no, high32(value)],
    low,
    [JUMP_EQUAL, yes, no, low32(value)],
  ];
  const above = (code: number, yes: Target, no: Target): Step[] => [
    high,
    [JUMP_GREATER, yes, 'next', high32(value)],
    [JUMP_EQUAL, 'next', no, high32(value)],
    low,
    [code, yes, no, low32(value)],
  ];
  switch (operator) {
    case 'EQ':
      return equal('pass', 'fail');
    case 'NE':
      return equal('fail', 'pass');
    case 'GT':
      return above(JUMP_GREATER, 'pass', 'fail');
    case 'GE':
      return above(JUMP_GREATER_EQUAL, 'pass', 'fail');
    case 'LE':
      return above(JUMP_GREATER, 'fail', 'pass');
    case 'LT':
      return above(JUMP_GREATER_EQUAL, 'fail', 'pass');
    case 'MASKED_EQ':
      return [
        high,
        [AND, 0, 0, high32(value)],
        [JUMP_EQUAL, 'next', 'fail', high32(valueTwo)],
        low,
        [AND, 0, 0, low32(value)],
        [JUMP_EQUAL, 'pass', 'fail', low32(valueTwo)],
      ];
  }
}

/** Returns the action when all tests hold, and falls through when not. At most 6 tests of 6 steps: every jump is a short one. */
function compileTests(tests: readonly ArgumentTest[], action: number): Instruction[] {
  const parts = tests.map(compare);
  const total = parts.reduce((sum, part) => sum + part.length, 0);
  let start = 0;
  const code = parts.flatMap((steps) => {
    const from = start;
    start += steps.length;
    return steps.map(([opcode, yes, no, k], i): Instruction => {
      const jump = (target: Target | number) =>
        typeof target === 'number' || target === 'next'
          ? target === 'next'
            ? 0
            : target
          : (target === 'pass' ? from + steps.length : total + 1) - (from + i + 1);
      return [opcode, jump(yes), jump(no), k];
    });
  });
  return [...code, end(action)];
}

/** Several tests of one argument in a rule are alternatives, as runc reads them: each is a rule of its own. */
function alternatives(args: readonly ArgumentTest[]): readonly (readonly ArgumentTest[])[] {
  const repeated = new Set(args.map(({ index }) => index)).size < args.length;
  return repeated ? args.map((test) => [test]) : [args];
}

class Table {
  readonly treatment = new Map<number, Block>();
  last = 0;

  constructor(rules: readonly SeccompRule[], column: 0 | 1 | 2, defaultAction: number) {
    const whole = new Map<number, number>();
    const tests = new Map<number, Instruction[]>();
    for (const { names, args, action } of rules)
      for (const name of new Set(names)) {
        // Names that this machine, or we, do not know: profiles are written for many.
        const number = seccompNumbers[name]?.[column] ?? -1;
        if (number < 0) continue;
        this.last = Math.max(this.last, number);
        if (args.length === 0) whole.set(number, whole.get(number) ?? action);
        else tests.set(number, [...(tests.get(number) ?? []), ...alternatives(args).flatMap((all) => compileTests(all, action))]);
      }
    const answers = new Map<number, Block>();
    const answer = (action: number) => {
      const block = answers.get(action) ?? [end(action)];
      answers.set(action, block);
      return block;
    };
    for (const [number, code] of tests) this.treatment.set(number, [...code, end(defaultAction)]);
    for (const [number, action] of whole) this.treatment.set(number, answer(action));
  }
}

function compileMachine(profile: OciSeccompProfile, rules: readonly SeccompRule[], machine: Machine): readonly Range[] {
  const { treatment, last } = new Table(rules, MACHINES[machine].column, profile.defaultAction);
  const otherwise: Block = [end(profile.defaultAction)];
  // Calls that the profile's author may not have known do not exist, as runc has it: EPERM would stop libraries from using older ways.
  const permissive = profile.defaultAction === ALLOW || profile.defaultAction === LOG_ACTION;
  const newer: Block = permissive ? otherwise : [end(ERRNO | ENOSYS)];
  return planRanges(treatment, last, { otherwise, newer });
}

/** x32 calls are looked up as x86_64's where the profile has that architecture. */
function x32Prologue(wanted: boolean): Block {
  return wanted
    ? [
        [LOAD, 0, 0, NR_AT],
        [AND, 0, 0, 0xffffffff & ~X32_BIT],
      ]
    : [[LOAD, 0, 0, NR_AT], [JUMP_GREATER_EQUAL, 0, 1, X32_BIT], end(ERRNO | ENOSYS)];
}

/** Ranges in groups whose code fits into one program each; the group with seccomp(2) itself comes last, or the later ones could not load. */
function split(ranges: readonly Range[], limit: number, seccompNumber: number): Range[][] {
  const groups: Range[][] = [];
  let size = limit;
  for (const range of ranges) {
    // The tree adds up to two instructions per range.
    const more = range.block.length + 4;
    if (size + more > limit) {
      groups.push([]);
      size = 0;
    }
    groups.at(-1)?.push(range);
    size += more;
  }
  const holds = (group: readonly Range[], next: readonly Range[] | undefined) =>
    (group[0]?.from ?? 0) <= seccompNumber && seccompNumber < (next?.[0]?.from ?? Number.POSITIVE_INFINITY);
  const at = groups.findIndex((group, i) => holds(group, groups[i + 1]));
  const last = groups[at];
  return last === undefined ? groups : [...groups.filter((group) => group !== last), last];
}

const allow: Block = [end(ALLOW)];

/** What is not of the group is allowed: of several programs the strictest answer counts, so each call is decided by one. */
function closeGroup(group: readonly Range[], all: readonly Range[]): readonly Range[] {
  const first = group[0];
  const last = group.at(-1);
  if (first === undefined || last === undefined) return group;
  const after = all[all.indexOf(last) + 1];
  return [
    ...(first.from === 0 ? [] : [{ from: 0, block: allow }]),
    ...group,
    ...(after === undefined ? [] : [{ from: after.from, block: allow }]),
  ];
}

/** Those of this machine that the profile is for: its own always. */
export function planArchitectures({ architectures, archMap }: OciSeccompProfile, arch: Arch = hostArch): readonly SeccompArchitecture[] {
  const native = nativeMachine(arch);
  const wanted = new Set<SeccompArchitecture>([native, ...architectures, ...(archMap.get(native) ?? [])]);
  const own: readonly SeccompArchitecture[] = arch === 'arm64' ? ['aarch64'] : ['x86_64', 'i386', 'x32'];
  return own.filter((architecture) => wanted.has(architecture));
}

/** The rules that hold for a container, without those that say what holds anyway. */
export function planRules(profile: OciSeccompProfile, target: SeccompTarget): readonly SeccompRule[] {
  return profile.rules.filter((rule) => applies(rule, target) && rule.action !== profile.defaultAction);
}

export function compileSeccompProfile(profile: OciSeccompProfile, target: SeccompTarget): SeccompFilter {
  const { arch = hostArch } = target;
  const rules = planRules(profile, target);
  const architectures = planArchitectures(profile, arch);
  const machines = architectures.filter((architecture): architecture is Machine => architecture !== 'x32');
  const x32 = architectures.includes('x32');
  const tables = machines.map((machine) => ({ machine, ranges: compileMachine(profile, rules, machine) }));
  const prologue = (machine: Machine) => (machine === 'x86_64' ? x32Prologue(x32) : []);
  const body = (machine: Machine, ranges: readonly Range[]) => {
    const [load, ...tree] = compileRanges(ranges);
    return forMachine(machine, [...(prologue(machine).length > 0 ? prologue(machine) : load === undefined ? [] : [load]), ...tree]);
  };
  const whole = [...tables.flatMap(({ machine, ranges }) => body(machine, ranges)), end(KILL_PROCESS)];
  const flags =
    profile.flags.length === 0 ? SECCOMP_FILTER_FLAG_SPEC_ALLOW : profile.flags.reduce((sum, name) => sum | (FLAGS[name] ?? 0), 0);
  if (whole.length <= MAX_INSTRUCTIONS) return { programs: [encodeFilter(whole)], flags };
  return { programs: splitPrograms(tables, body).map(encodeFilter), flags };
}

function splitPrograms(
  tables: readonly { readonly machine: Machine; readonly ranges: readonly Range[] }[],
  body: (machine: Machine, ranges: readonly Range[]) => Block,
): readonly Block[] {
  // Machines that no program names are ended by the first one.
  const strangers = [...tables.flatMap(({ machine }) => forMachine(machine, allow)), end(KILL_PROCESS)];
  const parts = tables.flatMap(({ machine, ranges }) => {
    const seccompNumber = seccompNumbers.seccomp?.[MACHINES[machine].column] ?? 0;
    return split(ranges, MAX_INSTRUCTIONS - 32, seccompNumber).map((group) => [...body(machine, closeGroup(group, ranges)), end(ALLOW)]);
  });
  // The calling machine's programs are loaded last, for the same reason.
  const native = tables[0]?.machine ?? 'x86_64';
  const own = parts.filter((part) => part[1]?.[3] === MACHINES[native].audit);
  const programs = [strangers, ...parts.filter((part) => !own.includes(part)), ...own];
  const longest = Math.max(...programs.map((program) => program.length));
  if (longest > MAX_INSTRUCTIONS)
    throw new Error(
      `the rules for one system call compile to ${longest} BPF instructions, and the kernel takes ${MAX_INSTRUCTIONS} in one program`,
    );
  const total = programs.reduce((sum, { length }) => sum + length + PROGRAM_OVERHEAD, 0);
  if (total > MAX_TOTAL_INSTRUCTIONS)
    throw new Error(`the profile compiles to ${total} BPF instructions, and the kernel takes ${MAX_TOTAL_INSTRUCTIONS} for one process`);
  return programs;
}

const MAX_CACHED = 64;
const cache = new Map<string, SeccompFilter>();

/** From a profile's text; the last ones are kept, for restarts of the same container and for exec. */
export function seccompFilterOf(source: string, target: SeccompTarget): SeccompFilter {
  const key = [target.arch ?? hostArch, target.kernelRelease, target.capabilities.join(' '), source].join('\0');
  const filter = cache.get(key) ?? compileSeccompProfile(parseSeccompProfile(source), target);
  cache.delete(key);
  cache.set(key, filter);
  for (const oldest of cache.keys()) {
    if (cache.size <= MAX_CACHED) break;
    cache.delete(oldest);
  }
  return filter;
}
