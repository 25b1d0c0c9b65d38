// A reverse proxy between a test and a registry that does to answers what networks and servers do to them.
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';

export type Fault =
  /** The connection ends after so many bytes of the body; the head promises all of them. */
  | { readonly kind: 'cut'; readonly afterBytes: number }
  /** One byte of the body is another. */
  | { readonly kind: 'corrupt'; readonly atByte: number }
  /** Comes in small pieces with pauses between them. */
  | { readonly kind: 'slow'; readonly pieceBytes: number; readonly pauseMs: number }
  /** The head comes, and then nothing. */
  | { readonly kind: 'stall' }
  /** Nothing comes, the connection ends. */
  | { readonly kind: 'reset' }
  | { readonly kind: 'status'; readonly status: number; readonly headers?: Readonly<Record<string, string>> }
  /** Ranges are not understood: the whole comes. */
  | { readonly kind: 'whole' };

export interface FaultProxy {
  readonly host: string;
  /** Decides what becomes of a request, by its path and how many came for that path before. */
  fault: (path: string, earlier: number) => Fault | undefined;
  /** "GET /v2/… bytes=100-" */
  readonly requests: string[];
  /** Bytes of bodies that were passed on, by path. */
  readonly passedBytes: Map<string, number>;
  reset(): void;
  close(): Promise<void>;
}

export async function startFaultProxy(upstream: string): Promise<FaultProxy> {
  const requests: string[] = [];
  const passedBytes = new Map<string, number>();
  const counts = new Map<string, number>();
  const [hostname, port] = upstream.split(':');
  const server = http.createServer(async (request, answer) => {
    const path = request.url ?? '';
    const earlier = counts.get(path) ?? 0;
    counts.set(path, earlier + 1);
    const { range = '' } = request.headers;
    requests.push(`${request.method} ${path} ${range}`.trim());
    const fault = proxy.fault(path, earlier);
    if (fault?.kind === 'reset') return request.socket.destroy();
    if (fault?.kind === 'status') return answer.writeHead(fault.status, fault.headers).end();
    const { host: _, range: asked, ...headers } = request.headers;
    const wanted = asked === undefined || fault?.kind === 'whole' ? headers : { ...headers, range: asked };
    const passed = http.request({ hostname, port, method: request.method, path, headers: wanted });
    request.pipe(passed);
    passed.on('error', () => answer.destroy());
    const [from] = (await once(passed, 'response')) as [http.IncomingMessage];
    answer.on('error', () => from.destroy());
    answer.writeHead(from.statusCode ?? 500, from.headers);
    answer.flushHeaders();
    if (fault?.kind === 'stall') return from.destroy();
    try {
      let at = 0;
      for await (const piece of from as AsyncIterable<Buffer>) {
        const spoiled = spoil(piece, at, fault);
        at += piece.length;
        passedBytes.set(path, (passedBytes.get(path) ?? 0) + spoiled.length);
        if (fault?.kind === 'slow') await dribble(answer, spoiled, fault);
        else if (!answer.write(spoiled)) await drained(answer);
        if (fault?.kind === 'cut' && at >= fault.afterBytes) {
          // What was written shall arrive first.
          await new Promise((resolve) => answer.write('', resolve));
          return request.socket.destroySoon();
        }
        if (answer.destroyed) return;
      }
      answer.end();
    } catch {
      answer.destroy();
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const proxy: FaultProxy = {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    fault: () => undefined,
    requests,
    passedBytes,
    reset: () => {
      proxy.fault = () => undefined;
      requests.length = 0;
      passedBytes.clear();
      counts.clear();
    },
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return proxy;
}

function spoil(piece: Buffer, at: number, fault: Fault | undefined): Buffer {
  if (fault?.kind === 'cut') return piece.subarray(0, Math.max(0, fault.afterBytes - at));
  if (fault?.kind !== 'corrupt' || fault.atByte < at || fault.atByte >= at + piece.length) return piece;
  const copy = Buffer.from(piece);
  copy[fault.atByte - at] = (copy[fault.atByte - at] ?? 0) ^ 0xff;
  return copy;
}

function drained(answer: http.ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      answer.off('drain', done).off('close', done);
      resolve();
    };
    answer.on('drain', done).on('close', done);
  });
}

async function dribble(answer: http.ServerResponse, piece: Buffer, { pieceBytes, pauseMs }: Fault & { kind: 'slow' }): Promise<void> {
  for (let at = 0; at < piece.length && !answer.destroyed; at += pieceBytes) {
    answer.write(piece.subarray(at, at + pieceBytes));
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}
