// Calls plugins as executables see it: environment and configuration in, JSON out.
import assert from 'node:assert/strict';
import { serve } from '../serve.ts';
import type { Peer } from './host.ts';

export type Json = Record<string, unknown>;
type Target = Pick<Peer, 'name' | 'netnsPath'>;

interface Answer {
  readonly exitCode: number;
  readonly value: Json;
}

async function call(command: string, type: string, config: Json, target?: Target, args = ''): Promise<Answer> {
  const env = {
    CNI_COMMAND: command,
    CNI_PATH: '/nonexistent',
    CNI_ARGS: args,
    ...(target === undefined ? {} : { CNI_CONTAINERID: target.name, CNI_NETNS: target.netnsPath, CNI_IFNAME: 'eth0' }),
  };
  const stdin = JSON.stringify({ cniVersion: '1.1.0', name: 'net1', type, ...config });
  const { exitCode, output } = await serve(type, env, async () => stdin);
  return { exitCode, value: output === '' ? {} : (JSON.parse(output) as Json) };
}

export async function succeed(...args: Parameters<typeof call>): Promise<Json> {
  const { exitCode, value } = await call(...args);
  assert.equal(exitCode, 0, JSON.stringify(value));
  return value;
}

/** The error's code and message. */
export async function fail(...args: Parameters<typeof call>): Promise<string> {
  const { exitCode, value } = await call(...args);
  assert.equal(exitCode, 1, JSON.stringify(value));
  return `${value.code} ${value.msg}`;
}

export const ipam = (dataDir: string, more: Json = {}): Json => ({
  ipam: { type: 'host-local', dataDir, ranges: [[{ subnet: '10.9.0.0/24' }], [{ subnet: 'fd09::/64' }]], ...more },
});
