// Owns seccomp profiles as files: the JSON of the OCI runtime specification (config-linux, seccomp) and of docker, which adds archMap,
// includes, excludes and "name". Parsed once, with every mistake told by its place; what it means as BPF is seccomp-compile.ts' part.

const MAX_ERRNO = 4095;

export type SeccompArchitecture = 'x86_64' | 'x32' | 'i386' | 'aarch64';

export type Operator = 'NE' | 'LT' | 'LE' | 'EQ' | 'GE' | 'GT' | 'MASKED_EQ';

export interface ArgumentTest {
  readonly index: number;
  readonly operator: Operator;
  /** With MASKED_EQ the mask. */
  readonly value: bigint;
  /** With MASKED_EQ what the masked argument must be. */
  readonly valueTwo: bigint;
}

interface Conditions {
  readonly caps: readonly string[];
  readonly arches: readonly string[];
  readonly minKernel: string;
}

export interface SeccompRule {
  readonly names: readonly string[];
  /** SECCOMP_RET_… with its data. */
  readonly action: number;
  readonly args: readonly ArgumentTest[];
  readonly includes: Conditions;
  readonly excludes: Conditions;
}

export interface OciSeccompProfile {
  readonly defaultAction: number;
  /** Empty: the machine's own. */
  readonly architectures: readonly SeccompArchitecture[];
  /** docker's: the architecture of the machine to those that come along. */
  readonly archMap: ReadonlyMap<SeccompArchitecture, readonly SeccompArchitecture[]>;
  /** SECCOMP_FILTER_FLAG_… */
  readonly flags: readonly string[];
  readonly rules: readonly SeccompRule[];
}

// linux/seccomp.h
const ACTIONS: Readonly<Record<string, number>> = {
  SCMP_ACT_KILL: 0x00000000,
  SCMP_ACT_KILL_THREAD: 0x00000000,
  SCMP_ACT_KILL_PROCESS: 0x80000000,
  SCMP_ACT_TRAP: 0x00030000,
  SCMP_ACT_ERRNO: 0x00050000,
  SCMP_ACT_TRACE: 0x7ff00000,
  SCMP_ACT_LOG: 0x7ffc0000,
  SCMP_ACT_ALLOW: 0x7fff0000,
};
const WITH_ERRNO = new Set(['SCMP_ACT_ERRNO', 'SCMP_ACT_TRACE']);
const EPERM = 1;
/** Where an action keeps its errno. */
export const ERRNO_MASK = 0xffff;

/** The name of SECCOMP_RET_…; the first of several. */
export function actionName(action: number): { readonly name: string; readonly hasErrno: boolean } {
  const [name = 'SCMP_ACT_KILL'] = Object.entries(ACTIONS).find(([, value]) => value === (action & ~ERRNO_MASK) >>> 0) ?? [];
  return { name, hasErrno: WITH_ERRNO.has(name) };
}

/** Those of other machines are known by name and have no effect on this one. */
const ARCHITECTURES: Readonly<Record<string, SeccompArchitecture>> = {
  SCMP_ARCH_X86_64: 'x86_64',
  SCMP_ARCH_X32: 'x32',
  SCMP_ARCH_X86: 'i386',
  SCMP_ARCH_AARCH64: 'aarch64',
};

const FLAGS = ['SECCOMP_FILTER_FLAG_TSYNC', 'SECCOMP_FILTER_FLAG_LOG', 'SECCOMP_FILTER_FLAG_SPEC_ALLOW'];

type Json = { readonly [key: string]: unknown };

function mistake(where: string, what: string): Error {
  return new Error(`${where}: ${what}`);
}

function object(value: unknown, where: string): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw mistake(where, 'must be an object');
  return value as Json;
}

function list(value: unknown, where: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw mistake(where, 'must be a list');
  return value;
}

function text(value: unknown, where: string): string {
  if (typeof value !== 'string') throw mistake(where, 'must be a string');
  return value;
}

const texts = (value: unknown, where: string) => list(value, where).map((entry, i) => text(entry, `${where}[${i}]`));

/** Numbers come as bigint from parseExactly. */
function unsigned(value: unknown, where: string, limit = (1n << 64n) - 1n): bigint {
  if (value === undefined || value === null) return 0n;
  if (typeof value !== 'bigint' || value < 0n || value > limit) throw mistake(where, `must be a whole number from 0 to ${limit}`);
  return value;
}

function action(name: unknown, errno: unknown, where: string): number {
  const spelled = text(name, `${where}.action`);
  if (spelled === 'SCMP_ACT_NOTIFY') throw mistake(`${where}.action`, 'SCMP_ACT_NOTIFY needs a listener, which no container here has');
  const value = ACTIONS[spelled];
  if (value === undefined) throw mistake(`${where}.action`, `"${spelled}" is not one of ${Object.keys(ACTIONS).join(', ')}`);
  if (errno === undefined || errno === null) return value | (WITH_ERRNO.has(spelled) ? EPERM : 0);
  if (!WITH_ERRNO.has(spelled)) throw mistake(where, `${spelled} has no errno`);
  return value | Number(unsigned(errno, `${where}.errnoRet`, BigInt(MAX_ERRNO)));
}

function argument(value: unknown, where: string): ArgumentTest {
  const { index, op, value: first, valueTwo } = object(value, where);
  const operator = text(op, `${where}.op`).replace(/^SCMP_CMP_/, '');
  if (!/^(NE|LT|LE|EQ|GE|GT|MASKED_EQ)$/.test(operator)) throw mistake(`${where}.op`, `"${op}" is no comparison`);
  return {
    index: Number(unsigned(index, `${where}.index`, 5n)),
    operator: operator as Operator,
    value: unsigned(first, `${where}.value`),
    valueTwo: unsigned(valueTwo, `${where}.valueTwo`),
  };
}

function conditions(value: unknown, where: string): Conditions {
  const { caps, arches, minKernel } = object(value ?? {}, where);
  return {
    caps: texts(caps, `${where}.caps`),
    arches: texts(arches, `${where}.arches`),
    minKernel: minKernel === undefined ? '' : text(minKernel, `${where}.minKernel`),
  };
}

function rule(value: unknown, where: string): SeccompRule {
  const raw = object(value, where);
  const names = [
    ...texts(raw.names, `${where}.names`),
    ...(raw.name === undefined || raw.name === '' ? [] : [text(raw.name, `${where}.name`)]),
  ];
  if (names.length === 0) throw mistake(where, 'names no system call');
  return {
    names,
    action: action(raw.action, raw.errnoRet, where),
    args: list(raw.args, `${where}.args`).map((entry, i) => argument(entry, `${where}.args[${i}]`)),
    includes: conditions(raw.includes, `${where}.includes`),
    excludes: conditions(raw.excludes, `${where}.excludes`),
  };
}

function architectures(value: unknown, where: string): readonly SeccompArchitecture[] {
  return texts(value, where).flatMap((name, i) => {
    if (!/^SCMP_ARCH_[A-Z0-9_]+$/.test(name)) throw mistake(`${where}[${i}]`, `"${name}" is no architecture`);
    return ARCHITECTURES[name] ?? [];
  });
}

function archMap(value: unknown): OciSeccompProfile['archMap'] {
  return new Map(
    list(value, 'archMap').flatMap((entry, i) => {
      const { architecture, subArchitectures } = object(entry, `archMap[${i}]`);
      const [own] = architectures([architecture], `archMap[${i}].architecture`);
      return own === undefined ? [] : [[own, architectures(subArchitectures, `archMap[${i}].subArchitectures`)] as const];
    }),
  );
}

function flag(name: string): string {
  if (!FLAGS.includes(name)) throw mistake('flags', `"${name}" is not one of ${FLAGS.join(', ')}`);
  return name;
}

/** JSON.parse with integers as bigint: arguments are 64-bit numbers. */
function parseExactly(source: string): unknown {
  const reviver = (_key: string, value: unknown, context?: { source?: string }) =>
    typeof value === 'number' && /^-?\d+$/.test(context?.source ?? '') ? BigInt(context?.source ?? '') : value;
  return JSON.parse(source, reviver);
}

export function parseSeccompProfile(source: string): OciSeccompProfile {
  const raw = object(parseExactly(source), 'profile');
  return {
    defaultAction: action(raw.defaultAction, raw.defaultErrnoRet, 'defaultAction'),
    architectures: architectures(raw.architectures, 'architectures'),
    archMap: archMap(raw.archMap),
    flags: texts(raw.flags, 'flags').map(flag),
    rules: list(raw.syscalls, 'syscalls').map((entry, i) => rule(entry, `syscalls[${i}]`)),
  };
}
