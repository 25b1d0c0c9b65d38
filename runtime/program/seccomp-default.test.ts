import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ALL_CAPABILITIES, DEFAULT_CAPABILITIES } from './capabilities.ts';
import { ALLOW } from './seccomp-bpf.ts';
import { DEFAULT_PROFILE, defaultSeccompFilter } from './seccomp-default.ts';
import { seccompNumbers } from './seccomp-numbers.ts';
import { ARM64, I386, interpret, X64 } from './testing/seccomp-machine.ts';

const defaultProgram = (capabilities: readonly string[], arch: 'x64' | 'arm64') =>
  defaultSeccompFilter(capabilities, arch).programs[0] ?? Buffer.alloc(0);

const ask = (name: string, args: readonly bigint[] = [], capabilities = DEFAULT_CAPABILITIES) =>
  interpret(defaultProgram(capabilities, 'x64'), X64, seccompNumbers[name]?.[0] ?? -1, args);

for (const [name, args, answer] of [
  ['read', [], 'allow'],
  ['execve', [], 'allow'],
  ['ptrace', [], 'allow'],
  ['chroot', [], 'allow'],
  ['mount', [], 'errno 1'],
  ['unshare', [], 'errno 1'],
  ['setns', [], 'errno 1'],
  ['bpf', [], 'errno 1'],
  ['reboot', [], 'errno 1'],
  ['init_module', [], 'errno 1'],
  ['clone3', [], 'errno 38'],
  ['clone', [0x11n], 'allow'],
  ['clone', [0x3d0f00n], 'allow'],
  ['clone', [0x10000011n], 'errno 1'],
  ['clone', [0x20011n], 'errno 1'],
  ['clone', [0x40000000n], 'errno 1'],
  ['personality', [0n], 'allow'],
  ['personality', [0x20008n], 'allow'],
  ['personality', [0xffffffffn], 'allow'],
  ['personality', [0x40000n], 'errno 1'],
  ['personality', [0x100000000n], 'errno 1'],
  ['socket', [2n], 'allow'],
  ['socket', [40n], 'errno 1'],
  ['socket', [0x100000028n], 'errno 1'],
  ['socket', [0x100000002n], 'allow'],
] as const)
  test(`the default profile answers ${name}(${args.map((arg) => `0x${arg.toString(16)}`).join()}) with ${answer}`, () => {
    assert.equal(ask(name, args), answer);
  });

test('capabilities open what they are for', () => {
  const admin = [...DEFAULT_CAPABILITIES, 'CAP_SYS_ADMIN'];
  for (const name of ['mount', 'unshare', 'setns', 'clone3', 'bpf', 'umount2']) assert.equal(ask(name, [], admin), 'allow', name);
  assert.equal(ask('clone', [0x10000011n], admin), 'allow');
  assert.equal(ask('chroot', [], []), 'errno 1');
  assert.equal(ask('reboot', [], ['CAP_SYS_BOOT']), 'allow');
});

test('io_uring and other calls that no rule names are refused, newer ones do not exist', () => {
  const filter = defaultProgram(DEFAULT_CAPABILITIES, 'x64');
  for (const number of [425, 426, 427, 246, 169]) assert.equal(interpret(filter, X64, number), 'errno 1', `${number}`);
  for (const number of [467, 500, 100000]) assert.equal(interpret(filter, X64, number), 'errno 38', `${number}`);
});

test('32-bit x86 has its own numbers, x32 does not exist, and a foreign architecture ends the process', () => {
  const filter = defaultProgram(DEFAULT_CAPABILITIES, 'x64');
  assert.equal(interpret(filter, I386, 3), 'allow'); // read
  assert.equal(interpret(filter, I386, 21), 'errno 1'); // mount
  assert.equal(interpret(filter, I386, 120, [0x10000000n]), 'errno 1'); // clone
  assert.equal(interpret(filter, X64, 0x40000000), 'errno 38');
  assert.equal(interpret(filter, ARM64, 63), 'kill');
});

test('the filter of aarch64 allows its read and refuses its mount', () => {
  const filter = defaultProgram(DEFAULT_CAPABILITIES, 'arm64');
  assert.equal(interpret(filter, ARM64, 63), 'allow');
  assert.equal(interpret(filter, ARM64, 40), 'errno 1');
  assert.equal(interpret(filter, X64, 0), 'kill');
});

test('every family of sockets but vsock is allowed', () => {
  for (let family = 0n; family < 64n; family++) assert.equal(ask('socket', [family]), family === 40n ? 'errno 1' : 'allow', `${family}`);
});

test('for every number the tree answers as the profile says, whatever the capabilities', () => {
  fc.assert(
    fc.property(fc.subarray([...ALL_CAPABILITIES]), (capabilities) => {
      const held = ({ caps }: { readonly caps: readonly string[] }) => caps.filter((name) => capabilities.includes(name)).length;
      const rules = DEFAULT_PROFILE.rules.filter(
        ({ includes, excludes }) => held(includes) === includes.caps.length && held(excludes) === 0,
      );
      for (const [arch, audit, column] of [
        ['x64', X64, 0],
        ['arm64', ARM64, 1],
      ] as const) {
        const filter = defaultProgram(capabilities, arch);
        for (const [name, numbers] of Object.entries(seccompNumbers)) {
          const number = numbers[column];
          const [first] = rules.filter(({ names }) => names.includes(name));
          if (number < 0 || (first?.args.length ?? 0) > 0) continue;
          const expected = first === undefined ? 'errno 1' : first.action === ALLOW ? 'allow' : 'errno 38';
          assert.equal(interpret(filter, audit, number), expected, name);
        }
      }
    }),
    { numRuns: 20 },
  );
});

test('no filter comes near the kernel’s limit of instructions', () => {
  for (const capabilities of [[], DEFAULT_CAPABILITIES, ALL_CAPABILITIES]) assert.ok(defaultProgram(capabilities, 'x64').length / 8 < 1500);
});
