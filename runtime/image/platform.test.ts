import assert from 'node:assert/strict';
import { test } from 'node:test';
import { computeLevel, hostArchitecture, hostPlatform, type Platform, rankPlatform, renderPlatform } from './platform.ts';

const platform = (text: string): Platform => {
  const [os = '', architecture = '', variant = ''] = text.split('/');
  return { os, architecture, variant };
};

for (const [host, best] of [
  ['linux/amd64/v3', ['linux/amd64/v3', 'linux/amd64/v2', 'linux/amd64', 'linux/386']],
  ['linux/arm64/v8', ['linux/arm64', 'linux/arm/v8', 'linux/arm/v7', 'linux/arm/v6']],
  ['linux/arm/v7', ['linux/arm/v7', 'linux/arm/v6', 'linux/arm/v5']],
  ['linux/riscv64', ['linux/riscv64']],
] as const)
  test(`${host} takes ${best.join(', then ')}`, () => {
    const offers = ['windows/amd64', 'linux/s390x', 'linux/amd64/v4', 'linux/arm64/v9', ...best.toReversed()].map(platform);
    const mine = offers
      .map((offer) => ({ offer, rank: rankPlatform(offer, platform(host)) }))
      .filter(({ rank }) => rank !== undefined)
      .sort((a, b) => (a.rank ?? 0) - (b.rank ?? 0))
      .map(({ offer }) => renderPlatform(offer));
    assert.deepEqual(mine, [...best]);
  });

test('the level of a processor is the last of an unbroken row', () => {
  const v2 = 'fpu cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3';
  const v4 = 'avx512f avx512bw avx512cd avx512dq avx512vl';
  assert.deepEqual(['fpu', v2, `${v2} ${v4}`, `${v2} avx avx2 bmi1 bmi2 f16c fma abm movbe xsave ${v4}`].map(computeLevel), [
    'v1',
    'v2',
    'v2',
    'v4',
  ]);
});

test('this machine is a Linux of some architecture', () => {
  assert.match(renderPlatform(hostPlatform()), /^linux\/\w+(\/v\d)?$/);
  assert.deepEqual(['x64', 'ia32', 'arm64', 'riscv64'].map(hostArchitecture), ['amd64', '386', 'arm64', 'riscv64']);
});
