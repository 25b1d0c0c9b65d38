// A small registry for tests that can misbehave in every way that a test asks for.
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestImage } from './images.ts';

export interface TestRegistry {
  /** "127.0.0.1:40000" */
  readonly host: string;
  /** "GET /v2/…" of every request, in order. */
  readonly requests: string[];
  /** Answers a request in place of the registry; true when it has. */
  intercept: (request: http.IncomingMessage, answer: http.ServerResponse) => boolean;
  serve(repository: string, tag: string, image: TestImage): void;
  close(): Promise<void>;
}

export async function startTestRegistry(): Promise<TestRegistry> {
  const content = new Map<string, { type: string; bytes: Buffer }>();
  const requests: string[] = [];
  const server = http.createServer((request, answer) => {
    requests.push(`${request.method} ${request.url}`);
    if (registry.intercept(request, answer)) return;
    // A mirror is asked with ?ns=.
    const found = content.get((request.url ?? '').replace(/\?.*$/, ''));
    if (found === undefined) {
      answer
        .writeHead(404, { 'content-type': 'application/json' })
        .end('{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}');
      return;
    }
    const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const bytes = found.bytes.subarray(start);
    answer.writeHead(start > 0 ? 206 : 200, { 'content-type': found.type, 'content-length': bytes.length }).end(bytes);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const registry: TestRegistry = {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    intercept: () => false,
    serve: (repository, tag, image) => {
      const put = (path: string, type: string, bytes: Buffer) => content.set(`/v2/${repository}/${path}`, { type, bytes });
      put(`manifests/${tag}`, image.manifest.mediaType, image.manifest.bytes);
      put(`manifests/${image.manifest.digest}`, image.manifest.mediaType, image.manifest.bytes);
      for (const [digest, bytes] of image.blobs) put(`blobs/${digest}`, 'application/octet-stream', bytes);
    },
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return registry;
}
