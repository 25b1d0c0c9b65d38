import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RegistryError } from '../image/registry-error.ts';
import { codeOfRegistryError } from './images.ts';

for (const [status, code] of [
  [undefined, 'UNAVAILABLE'],
  [404, 'NOT_FOUND'],
  [401, 'PERMISSION_DENIED'],
  [403, 'PERMISSION_DENIED'],
  [429, 'UNAVAILABLE'],
  [503, 'UNAVAILABLE'],
  [400, 'UNKNOWN'],
] as const)
  test(`a registry's HTTP status ${status ?? 'that never came'} is ${code} in CRI`, () => {
    assert.equal(codeOfRegistryError(new RegistryError('x', status === undefined ? {} : { status })), code);
  });
