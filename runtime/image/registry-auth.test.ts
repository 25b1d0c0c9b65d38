import assert from 'node:assert/strict';
import { test } from 'node:test';
import { basicCredentials, parseChallenges } from './registry-auth.ts';
import { parseErrorBody, RegistryError } from './registry-error.ts';
import { isPlainHttp } from './registry-http.ts';

test('parseChallenges reads a bearer challenge with its parameters', () => {
  assert.deepEqual(
    parseChallenges('Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"'),
    [
      {
        scheme: 'bearer',
        parameters: { realm: 'https://auth.docker.io/token', service: 'registry.docker.io', scope: 'repository:a/b:pull,push' },
      },
    ],
  );
});

test('parseChallenges reads several challenges, quoted pairs and plain values', () => {
  assert.deepEqual(parseChallenges('Basic realm="a \\"b\\"", Bearer realm=x , service = y'), [
    { scheme: 'basic', parameters: { realm: 'a "b"' } },
    { scheme: 'bearer', parameters: { realm: 'x', service: 'y' } },
  ]);
  assert.deepEqual(parseChallenges(''), []);
  assert.deepEqual(parseChallenges('"""'), []);
});

test('basicCredentials takes a name and password, or their base64', () => {
  assert.equal(basicCredentials({ username: 'u', password: 'p' }), 'u:p');
  assert.equal(basicCredentials({ auth: Buffer.from('u:p:q').toString('base64') }), 'u:p:q');
  assert.equal(basicCredentials({}), undefined);
  assert.equal(basicCredentials({ username: '', auth: '' }), undefined);
  assert.throws(() => basicCredentials({ auth: 'AAAA' }), /not base64 of "user:password"/);
});

test('only the loopback addresses of this host speak plain HTTP', () => {
  for (const domain of ['localhost', 'localhost:5000', '127.0.0.1:1', '127.9.9.9', '[::1]:80', '[::1]'])
    assert.ok(isPlainHttp(domain), domain);
  for (const domain of ['docker.io', 'localhost.example.com', '127.0.0.1.nip.io:80', '10.0.0.1:5000', '[::2]', 'xlocalhost'])
    assert.ok(!isPlainHttp(domain), domain);
});

test('parseErrorBody takes what a registry says and nothing from other pages', () => {
  assert.deepEqual(parseErrorBody('{"errors":[{"code":"DENIED","message":"no"}]}'), { code: 'DENIED', message: 'no' });
  for (const body of ['', '<html>', 'null', '{"errors":3}', '{"errors":[]}'])
    assert.deepEqual(parseErrorBody(body), { code: '', message: '' });
});

test('a RegistryError is transient where asking again may help', () => {
  const transient = (status?: number) => new RegistryError('x', status === undefined ? {} : { status }).isTransient;
  assert.deepEqual([undefined, 429, 500, 503, 404, 401, 200].map(transient), [true, true, true, true, false, false, false]);
});
