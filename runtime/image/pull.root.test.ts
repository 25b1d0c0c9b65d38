// Pulling from registries that misbehave, and from one that does not.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { digestOf } from './digest.ts';
import { parseReference } from './reference.ts';
import { downloadTo, openRepository } from './registry.ts';
import { RegistryError } from './registry-error.ts';
import { planUpstream } from './registry-hosts.ts';
import { makeImage, type TestImage } from './testing/images.ts';
import { startTestRegistry, type TestRegistry } from './testing/registry.ts';
import { openTestStore, type TestStore } from './testing/store.ts';

let registry: TestRegistry;
let home: TestStore;
before(async () => {
  registry = await startTestRegistry();
  home = await openTestStore();
});
after(async () => {
  await home.close();
  await registry.close();
});

let count = 0;
/** Serves an image under a name of its own. */
function serve(image: TestImage): string {
  const repository = `test/image-${count++}`;
  registry.serve(repository, 'latest', image);
  return `${registry.host}/${repository}`;
}

const files = (label: string) => [
  [{ name: 'a', content: `${label} below` }],
  [{ name: 'b', content: `${label} above` }, { name: '.wh.a' }],
];

const isLayer = (url: string | undefined, image: TestImage): boolean => image.layers.some(({ digest }) => url?.endsWith(digest));

async function assertNothingLeft(before: ReturnType<TestStore['leftovers']>): Promise<void> {
  assert.deepEqual(home.leftovers(), { ...before, ingest: [] });
}

test('pull gives an image by tag, by digest and by id', async () => {
  const image = makeImage(files('plain'), { run: { Entrypoint: ['/b'], Env: ['A=b'], User: '1000:50', WorkingDir: '/w' } });
  const name = serve(image);
  assert.equal(await home.store.pull(name), image.id);
  const found = await home.store.status(name);
  assert.deepEqual(found?.repoTags, [`${name}:latest`]);
  assert.deepEqual(found?.repoDigests, [`${name}@${image.manifest.digest}`]);
  assert.deepEqual([found?.config.entrypoint, found?.config.user, found?.config.workingDir], [['/b'], '1000:50', '/w']);
  assert.ok((found?.sizeBytes ?? 0n) > 0n);
  assert.equal((await home.store.status(`${name}@${image.manifest.digest}`))?.id, image.id);
  const [top, bottom] = home.store.layers(image.id).lowerDirs;
  assert.equal(fs.readFileSync(path.join(bottom ?? '', 'a'), 'utf8'), 'plain below');
  assert.equal(fs.readFileSync(path.join(top ?? '', 'b'), 'utf8'), 'plain above');
});

test('concurrent pulls of one reference are one pull, and one that leaves does not end it for the others', async () => {
  const image = makeImage(files('concurrent'));
  const name = serve(image);
  const seen = registry.requests.length;
  const abort = new AbortController();
  const leaving = home.store.pull(name, { signal: abort.signal });
  const staying = [home.store.pull(name), home.store.pull(name)];
  abort.abort(new Error('has left'));
  await assert.rejects(leaving, /has left/);
  assert.deepEqual(await Promise.all(staying), [image.id, image.id]);
  const manifests = registry.requests.slice(seen).filter((line) => line.endsWith('/manifests/latest'));
  assert.equal(manifests.length, 1);
});

test('layers that are there already are not downloaded again', async () => {
  const shared = [{ name: 'shared', content: 'shared' }];
  await home.store.pull(serve(makeImage([shared, [{ name: 'x', content: '1' }]])));
  const second = makeImage([shared, [{ name: 'x', content: '2' }]]);
  const seen = registry.requests.length;
  await home.store.pull(serve(second));
  const blobs = registry.requests.slice(seen).filter((line) => line.includes('/blobs/'));
  assert.deepEqual(blobs.map((line) => line.slice(line.indexOf('sha256'))).sort(), [second.id, second.layers[1]?.digest].sort());
});

test('a download that breaks off goes on from where it was', async (t) => {
  const image = makeImage([[{ name: 'big', content: Buffer.alloc(300_000, 'x') }]], { compression: 'none' });
  const name = serve(image);
  const ranges: string[] = [];
  t.after(() => {
    registry.intercept = () => false;
  });
  registry.intercept = (request, answer) => {
    if (!isLayer(request.url, image)) return false;
    ranges.push(request.headers.range ?? 'whole');
    if (ranges.length > 1) return false;
    answer.writeHead(200, { 'content-length': image.layers[0]?.bytes.length ?? 0 });
    answer.write(image.layers[0]?.bytes.subarray(0, 100_000), () => answer.destroy());
    return true;
  };
  assert.equal(await home.store.pull(name), image.id);
  assert.equal(ranges[0], 'whole');
  assert.match(ranges[1] ?? '', /^bytes=[1-9]\d*-$/);
});

test('an aborted pull ends and leaves nothing', async (t) => {
  const image = makeImage(files('aborted'));
  const name = serve(image);
  const before = home.leftovers();
  const abort = new AbortController();
  t.after(() => {
    registry.intercept = () => false;
  });
  registry.intercept = (request) => {
    if (!isLayer(request.url, image)) return false;
    abort.abort(new Error('the caller gave up'));
    return true;
  };
  await assert.rejects(home.store.pull(name, { signal: abort.signal }), /the caller gave up/);
  // The pull itself ends a moment after its caller.
  for (const deadline = Date.now() + 5000; home.leftovers().ingest.length > 0 && Date.now() < deadline; ) await new Promise(setImmediate);
  await assertNothingLeft(before);
});

const bad: readonly {
  readonly what: string;
  readonly image: TestImage;
  readonly spoil?: (image: TestImage) => TestRegistry['intercept'];
  readonly sentence: RegExp;
  readonly status?: number;
}[] = [
  {
    what: 'a layer with other content than its digest',
    image: makeImage(files('wrong')),
    spoil: (image) => (request, answer) => {
      const layer = image.layers[0];
      if (layer === undefined || !request.url?.endsWith(layer.digest)) return false;
      answer.end(Buffer.from(layer.bytes).fill(0, 20, 21));
      return true;
    },
    sentence: /the registry gives content with the digest sha256:\w+ for the layer sha256:/,
  },
  {
    what: 'a layer that is longer than its manifest says',
    image: makeImage(files('longer')),
    spoil: (image) => (request, answer) => isLayer(request.url, image) && Boolean(answer.end(Buffer.alloc(1_000_000))),
    sentence: /is longer than the \d+ bytes that its manifest says/,
  },
  {
    what: 'a truncated archive in a layer',
    image: (() => {
      const whole = makeImage([[{ name: 'a', content: 'x'.repeat(5000) }]], { compression: 'none' });
      const cut = whole.layers[0]?.bytes.subarray(0, 2000) ?? Buffer.alloc(0);
      return replaceLayer(whole, cut);
    })(),
    sentence: /the archive is truncated inside "a"/,
  },
  {
    what: 'a path that leads out of the layer',
    image: makeImage([[{ name: '../../evil', content: 'x' }]]),
    sentence: /"\.\.\/\.\.\/evil" leads out of the layer/,
  },
  {
    what: 'a layer that is no archive',
    image: replaceLayer(makeImage([[]]), Buffer.from('hello\n'.repeat(200))),
    sentence: /it is not a tar archive/,
  },
  {
    what: 'a layer compressed with xz',
    image: replaceLayer(makeImage([[]]), Buffer.from('\xfd7zXZ\0garbage', 'latin1')),
    sentence: /bzip2 or xz/,
  },
  {
    what: 'a diff ID that is another layer',
    image: makeImage(files('diff'), { configFields: { rootfs: { type: 'layers', diff_ids: [digestOf('1'), digestOf('2')] } } }),
    sentence: /it unpacks to the digest sha256:\w+, not sha256:/,
  },
  {
    what: 'fewer diff IDs than layers',
    image: makeImage(files('fewer'), { configFields: { rootfs: { type: 'layers', diff_ids: [] } } }),
    sentence: /the image config lists 0 layers and the manifest 2/,
  },
  {
    what: 'a layer of unknown media type',
    image: makeImage([], { manifestFields: { layers: [{ mediaType: 'application/wasm', digest: digestOf('x'), size: 1 }] } }),
    sentence: /media type "application\/wasm", which is not a container image's/,
  },
  {
    what: 'a chart in place of an image',
    image: makeImage([], { manifestFields: { mediaType: 'application/vnd.helm', layers: undefined } }),
    sentence: /not an image/,
  },
  {
    what: 'an image for another system',
    image: makeImage([], { configFields: { os: 'windows' } }),
    sentence: /built for windows, not for linux/,
  },
  {
    what: 'a manifest that is a web page',
    image: makeImage([]),
    spoil: () => (request, answer) =>
      Boolean(request.url?.includes('/manifests/') && answer.writeHead(200, { 'content-type': 'text/html' }).end('<html>')),
    sentence: /the image manifest is not JSON/,
  },
  {
    what: 'an unknown tag',
    image: makeImage([]),
    spoil: () => (_, answer) => Boolean(answer.writeHead(404).end('{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')),
    sentence: /is not in the registry \(404 manifest unknown\); check its name and tag/,
    status: 404,
  },
  {
    what: 'a refusal',
    image: makeImage([]),
    spoil: () => (_, answer) => Boolean(answer.writeHead(403).end('{"errors":[{"code":"DENIED","message":"not yours"}]}')),
    sentence: /answers 403 not yours; give credentials/,
    status: 403,
  },
  {
    what: 'a registry that wants a password',
    image: makeImage([]),
    spoil: () => (_, answer) => Boolean(answer.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end()),
    sentence: /asks for a user name and a password; give credentials/,
    status: 401,
  },
  {
    what: 'a registry that redirects for ever',
    image: makeImage([]),
    spoil: () => (request, answer) => Boolean(answer.writeHead(307, { location: request.url ?? '' }).end()),
    sentence: /redirects more than 5 times/,
  },
  {
    what: 'a redirect to a file',
    image: makeImage([]),
    spoil: () => (_, answer) => Boolean(answer.writeHead(307, { location: 'file:///etc/passwd' }).end()),
    sentence: /redirects to file:\/\/, which is not safe to follow/,
  },
  {
    what: 'a config with other content than its digest',
    image: makeImage([]),
    spoil: (image) => (request, answer) => Boolean(request.url?.endsWith(image.id) && answer.end('{}')),
    sentence: /content with the digest sha256:\w+ for sha256:/,
  },
];

/** The image with other bytes as its only layer, all digests right. */
function replaceLayer(image: TestImage, bytes: Buffer): TestImage {
  const digest = digestOf(bytes);
  const layer = { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest, size: bytes.length };
  const made = makeImage([], { manifestFields: { layers: [layer] }, configFields: { rootfs: { type: 'layers', diff_ids: [digest] } } });
  return { ...made, blobs: new Map([...made.blobs, [digest, bytes]]), layers: image.layers.map((each) => ({ ...each, digest, bytes })) };
}

for (const { what, image, spoil, sentence, status } of bad) {
  test(`pull refuses ${what} with a sentence and leaves nothing`, async (t) => {
    const name = serve(image);
    const before = home.leftovers();
    t.after(() => {
      registry.intercept = () => false;
    });
    if (spoil !== undefined) registry.intercept = spoil(image);
    await assert.rejects(home.store.pull(name), (error) => {
      assert.ok(error instanceof Error);
      const whole = [error, error.cause, (error.cause as Error | undefined)?.cause]
        .filter((link) => link instanceof Error)
        .map(({ message }) => message);
      assert.match(whole.join(': '), sentence);
      assert.ok(error.message.startsWith(`image "${name}" cannot be pulled`), error.message);
      if (status !== undefined) assert.ok(error instanceof RegistryError && error.status === status);
      return true;
    });
    assert.equal(await home.store.status(name), undefined);
    await assertNothingLeft(before);
  });
}

test('a registry that does not answer is named, with what is usable without one', async () => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  await assert.rejects(home.store.pull(`127.0.0.1:${port}/x`), {
    name: 'RegistryError',
    message: new RegExp(
      `^image "127.0.0.1:${port}/x" cannot be pulled: 127.0.0.1:${port} does not answer \\(connection refused\\); usable without a registry: localhost/node:host, localhost/busybox:host`,
    ),
  });
});

test('a token is fetched where the registry sends for one, with the credentials, and only the token goes to the registry', async (t) => {
  const image = makeImage(files('token'));
  const name = serve(image);
  const asked: string[] = [];
  const tokens = http.createServer((request, answer) => {
    asked.push(`${request.url} ${request.headers.authorization ?? 'anonymous'}`);
    answer.end(request.headers.authorization === undefined ? '{"token":"few-rights"}' : '{"access_token":"secret"}');
  });
  tokens.listen(0, '127.0.0.1');
  await once(tokens, 'listening');
  t.after(() => {
    registry.intercept = () => false;
    tokens.closeAllConnections();
    tokens.close();
  });
  const realm = `http://127.0.0.1:${(tokens.address() as AddressInfo).port}/token`;
  registry.intercept = (request, answer) => {
    if (request.headers.authorization === 'Bearer secret') return false;
    return Boolean(answer.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}",service="here"` }).end());
  };
  await assert.rejects(home.store.pull(name), { message: /answers 401; give credentials/ });
  assert.equal(await home.store.pull(name, { auth: { username: 'me', password: 'pw' } }), image.id);
  const repository = name.slice(name.indexOf('/') + 1);
  const query = new URLSearchParams({ service: 'here', scope: `repository:${repository}:pull` });
  assert.deepEqual(asked, [`/token?${query} anonymous`, `/token?${query} Basic ${Buffer.from('me:pw').toString('base64')}`]);
});

test('credentials do not follow a redirect to another host', async (t) => {
  const image = makeImage(files('redirect'));
  const name = serve(image);
  const other = await startTestRegistry();
  const repository = name.slice(name.indexOf('/') + 1);
  other.serve(repository, 'latest', image);
  const leaked: string[] = [];
  other.intercept = (request) => {
    if (request.headers.authorization !== undefined) leaked.push(request.headers.authorization);
    return false;
  };
  t.after(async () => {
    registry.intercept = () => false;
    await other.close();
  });
  registry.intercept = (request, answer) => {
    if (request.headers.authorization === undefined) return Boolean(answer.writeHead(401, { 'www-authenticate': 'Basic' }).end());
    if (!isLayer(request.url, image)) return false;
    return Boolean(answer.writeHead(307, { location: `http://${other.host}${request.url}` }).end());
  };
  const auth = { auth: Buffer.from('me:pw').toString('base64') };
  assert.equal(await home.store.pull(name, { auth }), image.id);
  assert.equal(other.requests.length, 2);
  assert.deepEqual(leaked, []);
});

test('a token that has run out is fetched anew, once for all layers', async (t) => {
  const image = makeImage(['a', 'b', 'c', 'd'].map((label) => [{ name: label, content: `expiring ${label}` }]));
  const name = serve(image);
  let issued = 0;
  const tokens = http.createServer((_, answer) => answer.end(JSON.stringify({ token: `token-${++issued}` })));
  tokens.listen(0, '127.0.0.1');
  await once(tokens, 'listening');
  t.after(() => {
    registry.intercept = () => false;
    tokens.closeAllConnections();
    tokens.close();
  });
  const realm = `http://127.0.0.1:${(tokens.address() as AddressInfo).port}/token`;
  registry.intercept = (request, answer) => {
    // The first token is good for what is small only.
    const needed = isLayer(request.url, image) ? 'Bearer token-2' : 'Bearer token-1';
    if (request.headers.authorization === needed) return false;
    return Boolean(answer.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}"` }).end());
  };
  assert.equal(await home.store.pull(name), image.id);
  assert.equal(issued, 2);
});

test('a foreign layer comes from where its manifest says, without credentials, when the registry has none', async (t) => {
  const image = makeImage([[{ name: 'a', content: 'foreign' }]]);
  const elsewhere = await startTestRegistry();
  const [layer] = image.layers;
  const urls = ['ftp://127.0.0.1/x', `http://${elsewhere.host}/absent`, `http://${elsewhere.host}/v2/any/blobs/${layer?.digest}`];
  const type = 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip';
  const manifestFields = { layers: [{ mediaType: type, digest: layer?.digest, size: layer?.bytes.length, urls }] };
  const foreign = makeImage([[{ name: 'a', content: 'foreign' }]], { manifestFields });
  const name = serve(foreign);
  elsewhere.serve('any', '1', image);
  const headers: unknown[] = [];
  elsewhere.intercept = (request) => {
    headers.push(request.headers.authorization);
    return false;
  };
  t.after(async () => {
    registry.intercept = () => false;
    await elsewhere.close();
  });
  registry.intercept = (request, answer) => {
    if (request.headers.authorization === undefined) return Boolean(answer.writeHead(401, { 'www-authenticate': 'Basic' }).end());
    return isLayer(request.url, image) && Boolean(answer.writeHead(404).end());
  };
  assert.equal(await home.store.pull(name, { auth: { username: 'me', password: 'pw' } }), foreign.id);
  assert.deepEqual(headers, [undefined, undefined]);
});

test('a registry is reached through the proxy of the environment', async (t) => {
  const image = makeImage([[{ name: 'a', content: 'proxied' }]]);
  serve(image);
  const repository = `test/image-${count - 1}`;
  const seen: string[] = [];
  const proxy = http.createServer((request, answer) => {
    seen.push(`${request.headers['proxy-authorization']} ${request.url}`);
    const url = new URL(request.url ?? '');
    const [hostname, port] = registry.host.split(':');
    http.get({ hostname, port, path: url.pathname, headers: { accept: request.headers.accept ?? '*/*' } }, (from) => {
      answer.writeHead(from.statusCode ?? 500, from.headers);
      from.pipe(answer);
    });
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const { HTTP_PROXY } = process.env;
  t.after(() => {
    if (HTTP_PROXY === undefined) delete process.env.HTTP_PROXY;
    else process.env.HTTP_PROXY = HTTP_PROXY;
    proxy.closeAllConnections();
    proxy.close();
  });
  process.env.HTTP_PROXY = `http://me:pw@127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  // No such host: what it gives comes by way of the proxy.
  const hosts = [{ ...planUpstream(registry.host), base: 'http://registry.invalid/v2' }];
  const found = await openRepository(parseReference(`registry.invalid/${repository}`), { hosts }).manifest('latest');
  assert.equal(found.digest, image.manifest.digest);
  const credentials = Buffer.from('me:pw').toString('base64');
  assert.deepEqual(seen, [`Basic ${credentials} http://registry.invalid/v2/${repository}/manifests/latest`]);
});

test('a pull without progress is given up', async (t) => {
  const image = makeImage(files('stuck'));
  const name = serve(image);
  t.after(() => {
    registry.intercept = () => false;
  });
  registry.intercept = (request, answer) => {
    if (!isLayer(request.url, image)) return false;
    answer.writeHead(200, { 'content-length': 1000 });
    answer.write('x');
    return true;
  };
  const repository = openRepository(parseReference(name), { stallTimeoutMs: 50, retryDelayMs: 1 });
  const file = path.join(home.dir, 'stuck');
  t.after(() => fs.rmSync(file, { force: true }));
  const blob = { digest: image.layers[0]?.digest ?? '', sizeBytes: 1000 };
  await assert.rejects(downloadTo(repository, blob, file), /breaks off its answer \(no bytes for 1 s\)/);
});

test('pull refuses what is no reference', async () => {
  await assert.rejects(home.store.pull('No Such'), { code: 'INVALID_ARGUMENT', message: /^invalid image reference "No Such": / });
});
