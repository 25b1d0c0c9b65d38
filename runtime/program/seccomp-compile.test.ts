import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compileSeccompProfile, seccompFilterOf } from './seccomp-compile.ts';
import { seccompNumbers } from './seccomp-numbers.ts';
import { parseSeccompProfile } from './seccomp-oci.ts';
import { ARM64, I386, interpretAll, X64 } from './testing/seccomp-machine.ts';

const target = { capabilities: ['CAP_CHOWN'], kernelRelease: '6.1.0-13-amd64', arch: 'x64' } as const;
const compile = (profile: object | string, more: object = {}) =>
  seccompFilterOf(typeof profile === 'string' ? profile : JSON.stringify(profile), { ...target, ...more });
const number = (name: string, column: 0 | 1 | 2 = 0) => seccompNumbers[name]?.[column] ?? -1;

test('every action, with its errno', () => {
  const actions = {
    mkdir: ['SCMP_ACT_ERRNO', undefined, 'errno 1'],
    rmdir: ['SCMP_ACT_ERRNO', 13, 'errno 13'],
    unlink: ['SCMP_ACT_KILL', undefined, 'kill thread'],
    link: ['SCMP_ACT_KILL_THREAD', undefined, 'kill thread'],
    symlink: ['SCMP_ACT_KILL_PROCESS', undefined, 'kill'],
    chmod: ['SCMP_ACT_TRAP', undefined, 'trap'],
    chown: ['SCMP_ACT_TRACE', 7, 'trace 7'],
    rename: ['SCMP_ACT_LOG', undefined, 'log'],
    read: ['SCMP_ACT_ALLOW', undefined, 'allow'],
  } as const;
  const syscalls = Object.entries(actions).map(([name, [action, errnoRet]]) => ({ names: [name], action, errnoRet }));
  const filter = compile({ defaultAction: 'SCMP_ACT_ERRNO', defaultErrnoRet: 99, syscalls });
  for (const [name, [, , answer]] of Object.entries(actions)) assert.equal(interpretAll(filter, X64, number(name)), answer, name);
  assert.equal(interpretAll(filter, X64, number('write')), 'errno 99');
  assert.equal(interpretAll(filter, X64, 5000), 'errno 38', 'calls to come do not exist, whatever errno is the default: runc');
});

const compared: Record<string, (argument: bigint, value: bigint, valueTwo: bigint) => boolean> = {
  SCMP_CMP_NE: (argument, value) => argument !== value,
  SCMP_CMP_LT: (argument, value) => argument < value,
  SCMP_CMP_LE: (argument, value) => argument <= value,
  SCMP_CMP_EQ: (argument, value) => argument === value,
  SCMP_CMP_GE: (argument, value) => argument >= value,
  SCMP_CMP_GT: (argument, value) => argument > value,
  SCMP_CMP_MASKED_EQ: (argument, value, valueTwo) => (argument & value) === valueTwo,
};

test('every comparison is that of 64-bit numbers, all of a rule must hold, rules of a call are alternatives', () => {
  const edge = fc.constantFrom(0n, 1n, 0xffffffffn, 0x100000000n, 0x1ffffffffn, (1n << 64n) - 1n);
  const u64 = fc.oneof(edge, fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }));
  const arg = fc.record({ index: fc.nat(5), op: fc.constantFrom(...Object.keys(compared)), value: u64, valueTwo: u64 });
  const rules = fc.array(fc.uniqueArray(arg, { selector: ({ index }) => index, minLength: 1, maxLength: 6 }), {
    minLength: 1,
    maxLength: 4,
  });
  fc.assert(
    fc.property(rules, fc.array(u64, { minLength: 6, maxLength: 6 }), fc.boolean(), (tests, args, take) => {
      // Half of the time the arguments are those of the first rule, or hardly anything would match.
      for (const { index, op, value, valueTwo } of take ? (tests[0] ?? []) : []) args[index] = op.endsWith('MASKED_EQ') ? valueTwo : value;
      const one = (value: (typeof tests)[number][number]) =>
        `{"index":${value.index},"op":"${value.op}","value":${value.value},"valueTwo":${value.valueTwo}}`;
      const syscalls = tests.map((all) => `{"names":["ioctl"],"action":"SCMP_ACT_ALLOW","args":[${all.map(one).join()}]}`);
      const filter = compile(`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[${syscalls.join()}]}`);
      const holds = tests.some((all) => all.every(({ index, op, value, valueTwo }) => compared[op]?.(args[index] ?? 0n, value, valueTwo)));
      assert.equal(interpretAll(filter, X64, number('ioctl'), args), holds ? 'allow' : 'errno 1');
    }),
    { numRuns: 300 },
  );
});

test('several tests of one argument are alternatives, and a rule without tests wins over those with', () => {
  const args = [8, 9].map((value) => ({ index: 0, op: 'SCMP_CMP_EQ', value }));
  const filter = compile({
    defaultAction: 'SCMP_ACT_ERRNO',
    syscalls: [
      { names: ['personality'], action: 'SCMP_ACT_ALLOW', args },
      { names: ['socket'], action: 'SCMP_ACT_KILL', args },
      { names: ['socket'], action: 'SCMP_ACT_ALLOW' },
    ],
  });
  assert.deepEqual(
    [8n, 9n, 10n].map((value) => interpretAll(filter, X64, number('personality'), [value])),
    ['allow', 'allow', 'errno 1'],
  );
  assert.equal(interpretAll(filter, X64, number('socket'), [8n]), 'allow');
});

test('only the architectures of the profile may call; x32 has the numbers of x86_64', () => {
  const profile = { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names: ['mkdir'], action: 'SCMP_ACT_ERRNO' }] };
  const alone = compile(profile);
  assert.equal(interpretAll(alone, X64, number('mkdir')), 'errno 1');
  assert.equal(interpretAll(alone, I386, number('mkdir', 2)), 'kill');
  assert.equal(interpretAll(alone, X64, 0x40000000 + number('read')), 'errno 38');
  const all = compile({ ...profile, architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32', 'SCMP_ARCH_S390X'] });
  assert.equal(interpretAll(all, I386, number('mkdir', 2)), 'errno 1');
  assert.equal(interpretAll(all, I386, number('read', 2)), 'allow');
  assert.equal(interpretAll(all, X64, 0x40000000 + number('mkdir')), 'errno 1');
  assert.equal(interpretAll(all, ARM64, 63), 'kill');
  const mapped = compile({ ...profile, archMap: [{ architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86'] }] });
  assert.equal(interpretAll(mapped, I386, number('read', 2)), 'allow');
  const arm = compile(
    { ...profile, archMap: [{ architecture: 'SCMP_ARCH_AARCH64', subArchitectures: ['SCMP_ARCH_ARM'] }] },
    { arch: 'arm64' },
  );
  assert.equal(interpretAll(arm, ARM64, number('mkdirat', 1)), 'allow');
});

test('calls beyond the profile do not exist, unless the default allows', () => {
  const filter = compile({ defaultAction: 'SCMP_ACT_ERRNO', syscalls: [{ names: ['read', 'openat2'], action: 'SCMP_ACT_ALLOW' }] });
  assert.equal(interpretAll(filter, X64, number('write')), 'errno 1');
  assert.equal(interpretAll(filter, X64, number('openat2') + 1), 'errno 38');
  assert.equal(interpretAll(compile({ defaultAction: 'SCMP_ACT_ALLOW' }), X64, 5000), 'allow');
});

test("docker's includes and excludes look at capabilities, architecture and kernel", () => {
  const rule = (name: string, more: object) => ({ names: [name], action: 'SCMP_ACT_ALLOW', ...more });
  const profile = {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: 1,
    syscalls: [
      rule('mount', { includes: { caps: ['CAP_SYS_ADMIN'] } }),
      rule('clone', { excludes: { caps: ['CAP_SYS_ADMIN'] } }),
      rule('arch_prctl', { includes: { arches: ['amd64', 'x32'] } }),
      rule('ptrace', { includes: { minKernel: '4.8' } }),
      rule('bpf', { includes: { minKernel: '6.2' } }),
      { name: 'uname', action: 'SCMP_ACT_ALLOW' },
    ],
  };
  const allowed = (filter: ReturnType<typeof compile>) =>
    ['mount', 'clone', 'arch_prctl', 'ptrace', 'bpf', 'uname'].filter((name) => interpretAll(filter, X64, number(name)) === 'allow');
  assert.deepEqual(allowed(compile(profile)), ['clone', 'arch_prctl', 'ptrace', 'uname']);
  assert.deepEqual(allowed(compile(profile, { capabilities: ['CAP_SYS_ADMIN'], kernelRelease: '6.18.2' })), [
    'mount',
    'arch_prctl',
    'ptrace',
    'bpf',
    'uname',
  ]);
});

test('a profile too long for one program is split, and answers the same; seccomp(2) stays possible until the last load', () => {
  const names = Object.keys(seccompNumbers).filter((name) => number(name) >= 0);
  const rule = (name: string, i: number) => ({
    names: [name],
    action: 'SCMP_ACT_ALLOW',
    args: Array.from({ length: 6 }, (_, index) => ({ index, op: 'SCMP_CMP_GE', value: i + index })),
  });
  const syscalls = names.map(rule);
  const profile = parseSeccompProfile(JSON.stringify({ defaultAction: 'SCMP_ACT_ERRNO', syscalls: [] }));
  const long = {
    ...profile,
    architectures: ['i386'],
    rules: parseSeccompProfile(JSON.stringify({ defaultAction: 'SCMP_ACT_ERRNO', syscalls })).rules,
  } as const;
  const filter = compileSeccompProfile(long, target);
  assert.ok(filter.programs.length > 2, `${filter.programs.length}`);
  for (const program of filter.programs) assert.ok(program.length / 8 <= 4096);
  names.forEach((name, i) => {
    const at = BigInt(i);
    const args = [0n, 1n, 2n, 3n, 4n, 5n].map((index) => at + index);
    assert.equal(interpretAll(filter, X64, number(name), args), 'allow', name);
    if (i > 0) assert.equal(interpretAll(filter, X64, number(name), [at - 1n, ...args.slice(1)]), 'errno 1', name);
  });
  assert.equal(interpretAll(filter, I386, 3, [0n, 0n, 0n, 0n, 0n, 0n]), 'errno 1');
  assert.equal(interpretAll(filter, ARM64, 63), 'kill');
  for (let loaded = 1; loaded < filter.programs.length; loaded++)
    assert.equal(
      interpretAll({ ...filter, programs: filter.programs.slice(0, loaded) }, X64, number('seccomp')),
      'allow',
      `after ${loaded}`,
    );
});

test('what the kernel cannot take is refused with both numbers', () => {
  const args = Array.from({ length: 6 }, (_, index) => ({ index, op: 'SCMP_CMP_GE', value: index }));
  const times = (n: number, names: string[]) => ({
    defaultAction: 'SCMP_ACT_ERRNO',
    syscalls: Array.from({ length: n }, () => ({ names, action: 'SCMP_ACT_ALLOW', args })),
  });
  assert.throws(() => compile(times(200, ['ioctl'])), /one system call compile to 6\d\d\d BPF instructions, and the kernel takes 4096/);
  const many = Object.keys(seccompNumbers);
  assert.throws(() => compile(times(8, many)), /compiles to \d{5} BPF instructions, and the kernel takes 32768 for one process/);
});

for (const [what, profile, message] of [
  ['no JSON', '{', /JSON/],
  ['a list', '[]', /profile: must be an object/],
  ['no default action', {}, /defaultAction\.action: must be a string/],
  ['an unknown action', { defaultAction: 'SCMP_ACT_NO' }, /"SCMP_ACT_NO" is not one of/],
  ['a listener', { defaultAction: 'SCMP_ACT_NOTIFY' }, /needs a listener/],
  ['no names', { defaultAction: 'SCMP_ACT_KILL', syscalls: [{ action: 'SCMP_ACT_ALLOW' }] }, /syscalls\[0\]: names no system call/],
  [
    'a bad argument',
    { defaultAction: 'SCMP_ACT_KILL', syscalls: [{ names: ['a'], action: 'SCMP_ACT_LOG', args: [{ index: 6, op: 'SCMP_CMP_EQ' }] }] },
    /syscalls\[0\]\.args\[0\]\.index: must be a whole number from 0 to 5/,
  ],
  [
    'a bad operator',
    { defaultAction: 'SCMP_ACT_KILL', syscalls: [{ names: ['a'], action: 'SCMP_ACT_LOG', args: [{ index: 0, op: '==' }] }] },
    /"==" is no comparison/,
  ],
  ['an errno too big', { defaultAction: 'SCMP_ACT_ERRNO', defaultErrnoRet: 4096 }, /from 0 to 4095/],
  ['an errno for no use', { defaultAction: 'SCMP_ACT_KILL', defaultErrnoRet: 1 }, /SCMP_ACT_KILL has no errno/],
  ['an unknown flag', { defaultAction: 'SCMP_ACT_KILL', flags: ['X'] }, /flags: "X" is not one of/],
] as const)
  test(`a profile with ${what} is refused by its place`, () => {
    assert.throws(() => compile(profile), message);
  });
