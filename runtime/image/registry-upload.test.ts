// Pushing to registries of every temper: what the distribution spec allows them, and what proxies before them do.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { parseReference } from './reference.ts';
import { planUpstream } from './registry-hosts.ts';
import { openUploads, type UploadRepository } from './registry-upload.ts';

const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'upload-'));
after(() => fs.rmSync(dir, { recursive: true, force: true }));

const PIECE_BYTES = 400_000;
const bytes = Buffer.alloc(500_000, 'some content of a layer ');
const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const file = path.join(dir, 'layer');
fs.writeFileSync(file, bytes);

interface Registry {
  readonly uploads: UploadRepository;
  readonly blobs: Map<string, Buffer>;
  readonly manifests: Map<string, Buffer>;
  readonly requests: string[];
  close(): Promise<void>;
}

interface Temper {
  /** Answers in place of the registry when it gives a status. */
  readonly refuse?: (method: string, url: URL, length: number) => number | undefined;
  /** Of what is refused: for how long. */
  readonly retryAfter?: string;
  readonly mountable?: readonly string[];
  /** Each right needs a token of its own from here. */
  readonly tokens?: boolean;
}

async function openRegistry({ refuse = () => undefined, retryAfter, mountable = [], tokens = false }: Temper = {}): Promise<Registry> {
  const blobs = new Map<string, Buffer>();
  const manifests = new Map<string, Buffer>();
  const sessions = new Map<string, Buffer>();
  const requests: string[] = [];
  const server = http.createServer(async (request, response) => {
    const url = new URL(request.url ?? '', `http://${request.headers.host}`);
    const method = request.method ?? '';
    requests.push(`${method} ${url.pathname.replace(/uploads\/.+/, 'uploads/…')}`);
    const chunks: Buffer[] = [];
    const answer = (status: number, headers: Record<string, string> = {}) => void response.writeHead(status, headers).end();
    if (url.pathname === '/token') return void response.end(JSON.stringify({ token: url.searchParams.get('scope') }));
    const status = refuse(method, url, Number(request.headers['content-length'] ?? 0));
    if (status !== undefined) {
      request.resume();
      return answer(status, retryAfter === undefined ? {} : { 'retry-after': retryAfter });
    }
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const right = method === 'HEAD' ? 'pull' : 'pull,push';
    if (tokens && request.headers.authorization !== `Bearer repository:team/app:${right}`)
      return answer(401, {
        'www-authenticate': `Bearer realm="http://${request.headers.host}/token",scope="repository:team/app:${right}"`,
      });
    const name = url.pathname.split('/').at(-1) ?? '';
    if (method === 'HEAD') return answer(blobs.has(name) ? 200 : 404);
    if (method === 'POST' && mountable.includes(url.searchParams.get('mount') ?? '')) return answer(201);
    const location = (id: string) => ({ location: `/v2/team/app/blobs/uploads/${id}?state=1` });
    if (method === 'POST') {
      sessions.set(String(sessions.size), Buffer.alloc(0));
      return answer(202, location(String(sessions.size - 1)));
    }
    if (method === 'DELETE') return answer(204);
    if (url.pathname.includes('/manifests/')) {
      manifests.set(name, body);
      return answer(201);
    }
    const whole = Buffer.concat([sessions.get(name) ?? Buffer.alloc(0), body]);
    sessions.set(name, whole);
    if (method === 'PATCH') return answer(202, location(name));
    assert.equal(url.searchParams.get('state'), '1', 'the place of an upload keeps its own query');
    const wanted = url.searchParams.get('digest') ?? '';
    if (`sha256:${createHash('sha256').update(whole).digest('hex')}` !== wanted) return answer(400);
    blobs.set(wanted, whole);
    answer(201);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const uploads = openUploads(parseReference(`${host}/team/app:1`), { host: planUpstream(host), retryDelayMs: 1, pieceBytes: PIECE_BYTES });
  const close = async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  };
  return { uploads, blobs, manifests, requests, close };
}

async function withRegistry(temper: Temper, use: (registry: Registry) => Promise<void>): Promise<void> {
  const registry = await openRegistry(temper);
  try {
    await use(registry);
  } finally {
    await registry.close();
  }
}

test('a blob goes up in one request, and its progress is told', () =>
  withRegistry({}, async ({ uploads, blobs, requests }) => {
    assert.equal(await uploads.has(digest), false);
    const sent: number[] = [];
    await uploads.upload(digest, bytes.length, { file }, (done) => sent.push(done));
    assert.ok(blobs.get(digest)?.equals(bytes));
    assert.equal(sent.at(-1), bytes.length);
    assert.equal(await uploads.has(digest), true);
    assert.deepEqual(
      requests.filter((line) => line.includes('uploads')),
      ['POST /v2/team/app/blobs/uploads/', 'PUT /v2/team/app/blobs/uploads/…'],
    );
  }));

test('a registry or proxy that refuses large requests gets the blob in pieces', () =>
  withRegistry(
    { refuse: (method, _, length) => (method === 'PUT' && length > PIECE_BYTES ? 413 : undefined) },
    async ({ uploads, blobs, requests }) => {
      await uploads.upload(digest, bytes.length, { file });
      assert.ok(blobs.get(digest)?.equals(bytes));
      assert.equal(requests.filter((line) => line.startsWith('PATCH')).length, 2);
    },
  ));

test('failures of the registry are tried again, refusals are not', async () => {
  let failures = 2;
  await withRegistry({ refuse: (method) => (method === 'POST' && failures-- > 0 ? 503 : undefined) }, async ({ uploads, blobs }) => {
    await uploads.upload(digest, bytes.length, { file });
    assert.ok(blobs.has(digest));
  });
  await withRegistry({ refuse: (method) => (method === 'POST' ? 403 : undefined) }, async ({ uploads, requests }) => {
    await assert.rejects(
      uploads.upload(digest, bytes.length, { file }),
      /answers 403 to a new upload for 127\.0\.0\.1:\d+\/team\/app; give credentials that may push there \(image push --creds\)/,
    );
    assert.equal(requests.length, 1);
  });
});

test('a registry that asks for patience gets it, and one that asks for too much is not waited for', async () => {
  const refusals: number[] = [];
  const refuse = (method: string) => {
    if (method !== 'HEAD' || refusals.length > 0) return undefined;
    refusals.push(performance.now());
    return 429;
  };
  await withRegistry({ refuse, retryAfter: '1' }, async ({ uploads }) => {
    assert.equal(await uploads.has(digest), false);
    assert.ok(performance.now() - (refusals[0] ?? 0) >= 990);
  });
  await withRegistry({ refuse: () => 429, retryAfter: '3600' }, async ({ uploads, requests }) => {
    await assert.rejects(uploads.has(digest), /answers 429 to the question for a blob/);
    assert.equal(requests.length, 1);
  });
});

test('a blob of another repository is taken over where the registry does that', () =>
  withRegistry({ mountable: ['sha256:here'] }, async ({ uploads, requests }) => {
    assert.equal(await uploads.mount('sha256:here', 'team/other'), true);
    assert.equal(await uploads.mount('sha256:absent', 'team/other'), false);
    assert.deepEqual(requests, [
      'POST /v2/team/app/blobs/uploads/',
      'POST /v2/team/app/blobs/uploads/',
      'DELETE /v2/team/app/blobs/uploads/…',
    ]);
  }));

test('reading and writing get a token each, once', () =>
  withRegistry({ tokens: true }, async ({ uploads, manifests, requests }) => {
    await uploads.has(digest);
    await uploads.upload(digest, bytes.length, { file });
    await uploads.has(digest);
    await uploads.putManifest('1', 'application/json', Buffer.from('{}'));
    assert.equal(manifests.get('1')?.toString(), '{}');
    assert.equal(requests.filter((line) => line.includes('/token')).length, 2);
  }));
