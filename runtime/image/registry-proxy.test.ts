import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planProxy, proxyHeaders } from './registry-proxy.ts';

const plan = (url: string, env: Record<string, string>) => planProxy(new URL(url), env)?.href;
const proxies = { HTTP_PROXY: 'http://plain:3128', HTTPS_PROXY: 'secure:3129' };

test('each protocol has its proxy, in either case of the variable', () => {
  assert.equal(plan('http://quay.io/v2', proxies), 'http://plain:3128/');
  assert.equal(plan('https://quay.io/v2', proxies), 'http://secure:3129/');
  assert.equal(plan('https://quay.io/v2', { https_proxy: 'https://p' }), 'https://p/');
  assert.equal(plan('https://quay.io/v2', { HTTP_PROXY: 'http://p' }), undefined);
  assert.throws(() => plan('http://quay.io/', { HTTP_PROXY: 'socks5://p' }), /HTTP_PROXY is "socks5:\/\/p", which is no http or https URL/);
});

for (const [url, noProxy, direct] of [
  ['https://127.0.0.1:5000/', '', true],
  ['https://localhost/', '', true],
  ['https://[::1]:5000/', '', true],
  ['https://quay.io/', '*', true],
  ['https://quay.io/', 'quay.io', true],
  ['https://cdn.quay.io/', 'a.example, quay.io', true],
  ['https://cdn.quay.io/', '.quay.io', true],
  ['https://cdn.quay.io/', '*.quay.io', true],
  ['https://quay.io/', '.quay.io', false],
  ['https://notquay.io/', 'quay.io', false],
  ['https://quay.io/', 'quay.io:443', true],
  ['https://quay.io/', 'quay.io:80', false],
  ['https://10.1.2.3/', '10.0.0.0/8', true],
  ['https://11.1.2.3/', '10.0.0.0/8', false],
  ['https://10.1.2.3:5000/', '10.1.2.3', true],
  ['https://[fd00::1]/', 'fd00::/8', true],
  ['https://[fd00::1]/', 'fd00::1', true],
  ['https://quay.io/', '10.0.0.0/8', false],
  ['https://10.1.2.3/', '10.0.0.0/99', false],
] as const)
  test(`NO_PROXY=${noProxy} ${direct ? 'spares' : 'does not spare'} ${url}`, () =>
    assert.equal(plan(url, { ...proxies, NO_PROXY: noProxy }) === undefined, direct));

test("the user of the proxy's URL becomes its header", () => {
  assert.deepEqual(proxyHeaders(new URL('http://p')), {});
  assert.deepEqual(proxyHeaders(new URL('http://me:p%40w@p')), {
    'proxy-authorization': `Basic ${Buffer.from('me:p@w').toString('base64')}`,
  });
});
