import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ALL_CAPABILITIES, DEFAULT_CAPABILITIES } from './capabilities.ts';
import { compileProfile, defaultSeccompFilter } from './seccomp.ts';
import { seccompNumbers } from './seccomp-numbers.ts';
import { planDefaultProfile } from './seccomp-profile.ts';

const X64 = 0xc000003e;
const I386 = 0x40000003;
const ARM64 = 0xc00000b7;

/** What the kernel would do: a tiny classic BPF machine over struct seccomp_data. */
function interpret(filter: Buffer, arch: number, number: number, args: readonly bigint[] = []): string {
  const data = Buffer.alloc(64);
  data.writeInt32LE(number | 0, 0);
  data.writeUInt32LE(arch, 4);
  args.forEach((arg, i) => {
    data.writeBigUInt64LE(arg, 16 + 8 * i);
  });
  let accumulator = 0;
  for (let at = 0; at < filter.length / 8; at++) {
    const code = filter.readUInt16LE(at * 8);
    const k = filter.readUInt32LE(at * 8 + 4);
    const jump = (condition: boolean) => filter[at * 8 + (condition ? 2 : 3)] ?? 0;
    if (code === 0x20) accumulator = data.readUInt32LE(k);
    else if (code === 0x54) accumulator = (accumulator & k) >>> 0;
    else if (code === 0x05) at += k;
    else if (code === 0x15) at += jump(accumulator === k);
    else if (code === 0x35) at += jump(accumulator >= k);
    else if (code === 0x06) return k === 0x7fff0000 ? 'allow' : k === 0x80000000 ? 'kill' : `errno ${k & 0xffff}`;
    else assert.fail(`opcode ${code}`);
  }
  return assert.fail('ran off the end');
}

const ask = (name: string, args: readonly bigint[] = [], capabilities = DEFAULT_CAPABILITIES) =>
  interpret(defaultSeccompFilter(capabilities, 'x64'), X64, seccompNumbers[name]?.[0] ?? -1, args);

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
  const filter = defaultSeccompFilter(DEFAULT_CAPABILITIES, 'x64');
  for (const number of [425, 426, 427, 246, 169]) assert.equal(interpret(filter, X64, number), 'errno 1', `${number}`);
  for (const number of [467, 500, 100000]) assert.equal(interpret(filter, X64, number), 'errno 38', `${number}`);
});

test('32-bit x86 has its own numbers, x32 does not exist, and a foreign architecture ends the process', () => {
  const filter = defaultSeccompFilter(DEFAULT_CAPABILITIES, 'x64');
  assert.equal(interpret(filter, I386, 3), 'allow'); // read
  assert.equal(interpret(filter, I386, 21), 'errno 1'); // mount
  assert.equal(interpret(filter, I386, 120, [0x10000000n]), 'errno 1'); // clone
  assert.equal(interpret(filter, X64, 0x40000000), 'errno 38');
  assert.equal(interpret(filter, ARM64, 63), 'kill');
});

test('the filter of aarch64 allows its read and refuses its mount', () => {
  const filter = defaultSeccompFilter(DEFAULT_CAPABILITIES, 'arm64');
  assert.equal(interpret(filter, ARM64, 63), 'allow');
  assert.equal(interpret(filter, ARM64, 40), 'errno 1');
  assert.equal(interpret(filter, X64, 0), 'kill');
});

test('for every number the tree answers as the profile says, whatever the capabilities', () => {
  fc.assert(
    fc.property(fc.subarray([...ALL_CAPABILITIES]), (capabilities) => {
      const profile = planDefaultProfile(capabilities);
      for (const [arch, audit, column] of [
        ['x64', X64, 0],
        ['arm64', ARM64, 1],
      ] as const) {
        const filter = compileProfile(profile, arch);
        for (const [name, numbers] of Object.entries(seccompNumbers)) {
          const number = numbers[column];
          if (number < 0 || profile.conditional.has(name)) continue;
          const expected = profile.allowed.has(name) ? 'allow' : profile.absent.has(name) ? 'errno 38' : 'errno 1';
          assert.equal(interpret(filter, audit, number), expected, name);
        }
      }
    }),
    { numRuns: 20 },
  );
});

test('no filter comes near the kernel’s limit of instructions', () => {
  for (const capabilities of [[], DEFAULT_CAPABILITIES, ALL_CAPABILITIES])
    assert.ok(defaultSeccompFilter(capabilities, 'x64').length / 8 < 1500);
});
