import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePorts, parseStreams } from './streams.ts';
import { renderRequest } from './upgrade.ts';

test('streams have the kubelet’s names or the API server’s, and a terminal has no stderr', () => {
  const parse = (text: string) => parseStreams(new URLSearchParams(text));
  assert.deepEqual(parse('input=1&output=1&error=1'), { stdin: true, stdout: true, stderr: true, tty: false });
  assert.deepEqual(parse('stdin=true&stdout=true&stderr=false'), { stdin: true, stdout: true, stderr: false, tty: false });
  assert.deepEqual(parse('output=1&error=1&tty=1'), { stdin: false, stdout: true, stderr: false, tty: true });
  for (const wrong of ['', 'tty=1', 'output=0', 'output=yes']) assert.throws(() => parse(wrong), { status: 400 }, wrong);
  assert.deepEqual(parsePorts(new URLSearchParams('port=80&port=65535')), [80, 65535]);
  for (const wrong of ['port=0', 'port=x', 'port=65536', 'port='])
    assert.throws(() => parsePorts(new URLSearchParams(wrong)), { status: 400 });
});

test('a request goes on with its own headers, to another host and path', () => {
  const rawHeaders = ['Host', 'node', 'Upgrade', 'SPDY/3.1', 'X-Stream-Protocol-Version', 'v4', 'x-stream-protocol-version', 'v3'];
  assert.equal(
    renderRequest({ method: 'POST', rawHeaders }, new URL('http://127.0.0.1:4000/exec/token?x=1')),
    'POST /exec/token?x=1 HTTP/1.1\r\nHost: 127.0.0.1:4000\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4\r\nx-stream-protocol-version: v3\r\n\r\n',
  );
});
