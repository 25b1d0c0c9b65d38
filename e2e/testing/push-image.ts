// `node push-image.ts REGISTRY REPOSITORY TAG CONFIG-JSON LAYER…` pushes an image by the distribution spec and prints its id and digest.
// A program of its own, because it must run in the network namespace where the registry is.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import zlib from 'node:zlib';

const [registry = '', repository = '', tag = '', runConfig = '', ...layerFiles] = process.argv.slice(2);
const base = `http://${registry}/v2/${repository}`;
const OCI = 'application/vnd.oci.image';

const digestOf = (bytes: Buffer) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

async function send(method: 'POST' | 'PUT', url: URL, status: number, type: string, bytes: Buffer): Promise<Headers> {
  const answer = await fetch(url, { method, body: new Uint8Array(bytes), headers: { 'content-type': type } });
  if (answer.status !== status) throw new Error(`${method} ${url} answers ${answer.status}: ${await answer.text()}`);
  return answer.headers;
}

async function pushBlob(mediaType: string, bytes: Buffer): Promise<{ mediaType: string; digest: string; size: number }> {
  const digest = digestOf(bytes);
  const started = await send('POST', new URL(`${base}/blobs/uploads/`), 202, 'application/octet-stream', Buffer.alloc(0));
  const upload = new URL(started.get('location') ?? '', base);
  upload.searchParams.set('digest', digest);
  await send('PUT', upload, 201, 'application/octet-stream', bytes);
  return { mediaType, digest, size: bytes.length };
}

const archives = layerFiles.map((file) => fs.readFileSync(file));
const layers = [];
for (const archive of archives) layers.push(await pushBlob(`${OCI}.layer.v1.tar+gzip`, zlib.gzipSync(archive, { level: 1 })));
const document = {
  architecture: { x64: 'amd64' }[process.arch as string] ?? process.arch,
  os: 'linux',
  config: JSON.parse(runConfig) as object,
  rootfs: { type: 'layers', diff_ids: archives.map(digestOf) },
};
const config = await pushBlob(`${OCI}.config.v1+json`, Buffer.from(JSON.stringify(document)));
const mediaType = `${OCI}.manifest.v1+json`;
const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config, layers }));
await send('PUT', new URL(`${base}/manifests/${tag}`), 201, mediaType, manifest);
process.stdout.write(JSON.stringify({ id: config.digest, digest: digestOf(manifest) }));
