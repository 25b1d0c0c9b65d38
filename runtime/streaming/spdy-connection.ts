// A SPDY/3.1 connection as its server sees it: streams that the client opens, each a Duplex. The send window is not waited for: the
// clients in use (moby/spdystream) never open it, and TCP holds up whoever is too fast.
import { Duplex } from 'node:stream';
import { encodeFrame, type Frame, FrameReader, RST } from './spdy-frame.ts';
import { createHeaderDecoder, createHeaderEncoder, type SpdyHeaders } from './spdy-headers.ts';

/** What one stream may have unread before the whole connection waits for its reader. */
const UNREAD_BYTES = 1 << 20;
const MAX_STREAMS = 1000;
const NO_HEADERS: SpdyHeaders = new Map();

type Done = (error?: Error | null) => void;
type Send = (frame: Parameters<typeof encodeFrame>[0], done?: Done) => void;

export class SpdyStream extends Duplex {
  readonly id: number;
  readonly headers: SpdyHeaders;
  readonly #send: Send;
  readonly #gone: () => void;
  #reader: (() => void) | undefined;
  #reset = false;

  constructor(id: number, headers: SpdyHeaders, send: Send, gone: () => void) {
    super({ allowHalfOpen: true, readableHighWaterMark: UNREAD_BYTES });
    this.id = id;
    this.headers = headers;
    this.#send = send;
    this.#gone = gone;
    // Who fails is told by the connection's end; a stream without a reader must not end the process.
    this.on('error', () => undefined);
  }

  /** Data from the client. Resolves when there is room for more. */
  async receive(data: Buffer, fin: boolean): Promise<void> {
    if (this.destroyed || this.readableEnded) return;
    const room = data.length === 0 || this.push(data);
    if (fin) this.push(null);
    else if (data.length > 0) this.#send({ type: 'windowUpdate', streamId: this.id, delta: data.length });
    if (!room && !fin)
      await new Promise<void>((resolve) => {
        this.#reader = resolve;
      });
  }

  /** The client has reset it. */
  receiveReset(): void {
    this.#reset = true;
    this.destroy();
  }

  override _read(): void {
    this.#reader?.();
    this.#reader = undefined;
  }

  override _write(chunk: Buffer, _encoding: string, done: Done): void {
    this.#send({ type: 'data', streamId: this.id, fin: false, data: chunk }, done);
  }

  override _final(done: Done): void {
    this.#send({ type: 'data', streamId: this.id, fin: true, data: Buffer.alloc(0) }, done);
  }

  override _destroy(error: Error | null, done: Done): void {
    const whole = this.readableEnded && this.writableFinished;
    if (!whole && !this.#reset) this.#send({ type: 'rstStream', streamId: this.id, status: RST.cancel });
    this._read();
    this.#gone();
    done(error);
  }
}

export interface SpdyOptions {
  /** Throws with the reason when the stream is refused. */
  readonly onStream: (stream: SpdyStream) => void;
  /** The connection is ended after this time without a frame, either way. */
  readonly idleMs: number;
}

export class SpdyConnection {
  readonly #transport: Duplex;
  readonly #options: SpdyOptions;
  readonly #streams = new Map<number, SpdyStream>();
  readonly #encodeHeaders = createHeaderEncoder();
  readonly #idle: NodeJS.Timeout;
  #lastId = 0;
  #open = true;
  /** Resolves when the transport is closed, by whichever side. */
  readonly closed: Promise<void>;

  constructor(transport: Duplex, options: SpdyOptions) {
    this.#transport = transport;
    this.#options = options;
    this.#idle = setTimeout(() => this.destroy(), options.idleMs).unref();
    transport.on('error', () => undefined);
    this.closed = this.#run();
  }

  /** Says that no more comes; waits for the client to close, for so long, then closes itself. */
  async finish(timeoutMs: number): Promise<void> {
    this.#send({ type: 'goaway', lastStreamId: this.#lastId, status: 0 });
    const timer = setTimeout(() => this.destroy(), timeoutMs);
    await this.closed;
    clearTimeout(timer);
  }

  destroy(): void {
    this.#transport.destroy();
  }

  async #run(): Promise<void> {
    const headers = createHeaderDecoder();
    const reader = new FrameReader();
    try {
      for await (const chunk of this.#transport)
        for (const frame of reader.push(chunk as Buffer)) {
          this.#idle.refresh();
          await this.#take(frame, headers.decode);
        }
    } catch {
      // Not SPDY, or cut off: either way the connection is over.
    } finally {
      this.#open = false;
      clearTimeout(this.#idle);
      headers.close();
      for (const stream of [...this.#streams.values()]) stream.receiveReset();
      this.#transport.destroy();
    }
  }

  async #take(frame: Frame, decode: (block: Buffer) => Promise<SpdyHeaders>): Promise<void> {
    switch (frame.type) {
      case 'synStream':
        return this.#accept(frame.streamId, frame.fin, await decode(frame.block));
      case 'data': {
        const stream = this.#streams.get(frame.streamId);
        if (stream !== undefined) return stream.receive(frame.data, frame.fin);
        return;
      }
      case 'headers':
        // Read for the compressor's sake; no client means anything by them but perhaps the end.
        await decode(frame.block);
        return frame.fin ? this.#streams.get(frame.streamId)?.receive(Buffer.alloc(0), true) : undefined;
      case 'rstStream':
        this.#streams.get(frame.streamId)?.receiveReset();
        return;
      case 'ping':
        // Even ids would be answers to pings of ours; there are none.
        if (frame.id % 2 === 1) this.#send(frame);
        return;
      default:
        return;
    }
  }

  async #accept(id: number, fin: boolean, headers: SpdyHeaders): Promise<void> {
    if (id % 2 === 0 || id <= this.#lastId) throw new Error(`SPDY stream id ${id} after ${this.#lastId}`);
    this.#lastId = id;
    if (this.#streams.size >= MAX_STREAMS) {
      this.#send({ type: 'rstStream', streamId: id, status: RST.refusedStream });
      return;
    }
    const stream = new SpdyStream(
      id,
      headers,
      (frame, done) => this.#send(frame, done),
      () => this.#streams.delete(id),
    );
    this.#streams.set(id, stream);
    try {
      this.#options.onStream(stream);
    } catch {
      this.#streams.delete(id);
      this.#send({ type: 'rstStream', streamId: id, status: RST.refusedStream });
      stream.receiveReset();
      return;
    }
    this.#send({ type: 'synReply', streamId: id, fin: false, block: this.#encodeHeaders(NO_HEADERS) });
    if (fin) await stream.receive(Buffer.alloc(0), true);
  }

  #send(frame: Parameters<typeof encodeFrame>[0], done?: Done): void {
    if (!this.#open || !this.#transport.writable) {
      done?.(new Error('the connection is closed'));
      return;
    }
    this.#idle.refresh();
    this.#transport.write(encodeFrame(frame), done);
  }
}
