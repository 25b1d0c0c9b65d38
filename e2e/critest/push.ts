// `node push.ts REGISTRY DIRECTORY [WORD]` pushes critest's images (those with the word in their name), by the distribution spec.
// A program of its own, because it must run in the network namespace where the registry is.
import fs from 'node:fs';
import { digestOf, documentsOf } from './archive.ts';
import { planImages } from './images.ts';
import { ensurePrograms } from './programs.ts';

const [registry = '', directory = '', word = ''] = process.argv.slice(2);

async function put(url: URL | string, status: number, type: string, bytes: Buffer, method = 'PUT'): Promise<Headers> {
  const answer = await fetch(url, { method, body: new Uint8Array(bytes), headers: { 'content-type': type } });
  if (answer.status !== status) throw new Error(`${method} ${url} answers ${answer.status}: ${await answer.text()}`);
  return answer.headers;
}

async function pushBlob(base: string, bytes: Buffer): Promise<void> {
  const digest = digestOf(bytes);
  if ((await fetch(`${base}/blobs/${digest}`, { method: 'HEAD' })).ok) return;
  const started = await put(`${base}/blobs/uploads/`, 202, 'application/octet-stream', Buffer.alloc(0), 'POST');
  const upload = new URL(started.get('location') ?? '', base);
  upload.searchParams.set('digest', digest);
  await put(upload, 201, 'application/octet-stream', bytes);
}

const programs = await ensurePrograms();
if ('missing' in programs) throw new Error(programs.missing);
fs.mkdirSync(directory, { recursive: true });
for (const image of planImages(programs, directory).filter(({ repository }) => repository.includes(word))) {
  const base = `http://${registry}/v2/${image.repository}`;
  const { config, manifest, index, manifestType, indexType } = documentsOf(image);
  for (const bytes of [config, ...image.layers]) await pushBlob(base, bytes);
  await put(`${base}/manifests/${digestOf(manifest)}`, 201, manifestType, manifest);
  for (const tag of image.tags) await put(`${base}/manifests/${tag}`, 201, indexType, index);
}
