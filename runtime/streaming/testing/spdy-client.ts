// A SPDY/3.1 client for tests, as small as it can be: frames of our codec, read when the test says so.
import http from 'node:http';
import type { Socket } from 'node:net';
import { encodeFrame, type Frame, FrameReader } from '../spdy-frame.ts';
import { createHeaderEncoder } from '../spdy-headers.ts';

export interface Refusal {
  readonly status: number | undefined;
  readonly text: string;
}

export class SpdyClient {
  readonly socket: Socket;
  readonly protocol: string;
  readonly #encode = createHeaderEncoder();
  readonly #reader = new FrameReader();
  readonly frames: Frame[] = [];
  #nextId = 1;
  closed = false;

  constructor(socket: Socket, protocol: string) {
    this.socket = socket;
    this.protocol = protocol;
    socket.on('data', (chunk: Buffer) => this.frames.push(...this.#reader.push(chunk)));
    socket
      .on('error', () => undefined)
      .on('close', () => {
        this.closed = true;
      });
  }

  send(frame: Parameters<typeof encodeFrame>[0]): void {
    this.socket.write(encodeFrame(frame));
  }

  /** Opens a stream; its id. */
  open(headers: Record<string, string>): number {
    const id = this.#nextId;
    this.#nextId += 2;
    this.send({ type: 'synStream', streamId: id, fin: false, block: this.#encode(new Map(Object.entries(headers))) });
    return id;
  }

  data(streamId: number, text: string | Buffer, fin = false): void {
    this.send({ type: 'data', streamId, fin, data: Buffer.from(text as string) });
  }

  /** What has come on a stream so far. */
  received(streamId: number): Buffer {
    return Buffer.concat(this.frames.flatMap((frame) => (frame.type === 'data' && frame.streamId === streamId ? [frame.data] : [])));
  }

  ended(streamId: number): boolean {
    return this.frames.some((frame) => frame.type === 'data' && frame.streamId === streamId && frame.fin);
  }
}

/** Upgrades, or says how that was refused. */
export function connectSpdy(url: string, protocols: readonly string[], upgrade = 'SPDY/3.1'): Promise<SpdyClient | Refusal> {
  return new Promise((resolve, reject) => {
    const request = http.request(url, {
      method: 'POST',
      agent: false,
      headers: { connection: 'Upgrade', upgrade, 'x-stream-protocol-version': [...protocols] },
    });
    request.once('error', reject);
    request.once('response', (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => {
        text += chunk;
      });
      response.once('end', () => resolve({ status: response.statusCode, text }));
    });
    request.once('upgrade', (response, socket, head) => {
      const client = new SpdyClient(socket as Socket, String(response.headers['x-stream-protocol-version']));
      if (head.length > 0) socket.unshift(head);
      resolve(client);
    });
    request.end();
  });
}
