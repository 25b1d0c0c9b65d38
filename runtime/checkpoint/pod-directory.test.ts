import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { ContainerConfig } from '../../cri-proto/gen/api.ts';
import { checkOutput, clearOutput, matchConfigs, readPod, refuseOptions, writePod } from './pod-directory.ts';

const config = (name: string) => ContainerConfig.create({ metadata: { name, attempt: 0 } });

test('each container of a checkpoint has exactly one config, by its name', () => {
  const pairs = matchConfigs(['a', 'b'], [config('b'), config('a')]);
  assert.deepEqual(
    pairs.map(([name, { metadata }]) => [name, metadata?.name]),
    [
      ['a', 'a'],
      ['b', 'b'],
    ],
  );
  const refused = (configs: ContainerConfig[], message: RegExp) =>
    assert.throws(() => matchConfigs(['a', 'b'], configs), { code: 'INVALID_ARGUMENT', message });
  refused([config('a')], /none for container "b"/);
  refused([config('a'), config('b'), config('a')], /several for container "a"/);
  refused([config('a'), config('b'), config('c')], /no container "c": it has a, b/);
});

test('an option is refused by its name', () => {
  refuseOptions({});
  assert.throws(() => refuseOptions({ compress: 'zstd' }), { code: 'INVALID_ARGUMENT', message: /no option "compress"/ });
});

test('the directory is the caller’s: there, empty, and empty again after a failure', async () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'tsk-pod-'));
  try {
    await assert.rejects(checkOutput('relative'), { code: 'INVALID_ARGUMENT', message: /not an absolute path/ });
    await assert.rejects(checkOutput(path.join(directory, 'no')), { message: /is not a directory/ });
    await checkOutput(directory);
    await assert.rejects(readPod(directory), { code: 'NOT_FOUND', message: /no checkpoint of a pod/ });
    await writePod(directory, ['a', 'b']);
    assert.deepEqual(await readPod(directory), ['a', 'b']);
    await assert.rejects(checkOutput(directory), { message: /is not empty: "pod\.dump"/ });
    await clearOutput(directory);
    await checkOutput(directory);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
});
