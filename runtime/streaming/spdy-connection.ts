// A SPDY/3.1 connection as its server sees it: streams that the client opens, each a Duplex. What we receive is acknowledged as the
// draft says. The send window is not waited for: Kubernetes' clients (moby/spdystream) never open it, so every stream would stop after
// 64 KiB; TCP holds up whoever is too fast.
import { Duplex } from 'node:stream';
import { encodeFrame, type Frame, FrameReader, RST } from './spdy-frame.ts';
import { createHeaderDecoder, createHeaderEncoder, type SpdyHeaders } from './spdy-headers.ts';
import type { StreamTimes } from './times.ts';

/** What one stream may have unread before the whole connection waits for its reader. */
const UNREAD_BYTES = 1 << 20;
const MAX_STREAMS = 1000;
/** Half the window that a client has until it is told otherwise. */
const ACKNOWLEDGE_BYTES = 32 << 10;
/** Longer writes are cut: a frame's length has 24 bits, and other streams want their turn. */
const MAX_DATA_BYTES = 256 << 10;
/** What may wait of answers (to pings, to data) for a client that does not read them. */
const MAX_ANSWER_BYTES = 1 << 20;
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
  #ended = false;
  #unacknowledged = 0;

  constructor(id: number, headers: SpdyHeaders, send: Send, gone: () => void) {
    super({ allowHalfOpen: true, readableHighWaterMark: UNREAD_BYTES });
    this.id = id;
    this.headers = headers;
    this.#send = send;
    this.#gone = gone;
    // Who fails is told by the connection's end; a stream without a reader must not end the process.
    this.on('error', () => undefined);
  }

  /** Data from the client. False when its reader is behind: wait for `drained` then. */
  receive(data: Buffer, fin: boolean): boolean {
    if (this.destroyed || this.#ended) return true;
    const room = data.length === 0 || this.push(data);
    this.#unacknowledged += data.length;
    if (fin) {
      this.#ended = true;
      this.push(null);
      return true;
    }
    if (room) this.#acknowledge();
    return room;
  }

  /** Resolves when there is room for more, or nobody left to read. */
  async drained(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#reader = resolve;
    });
    this.#acknowledge();
  }

  #acknowledge(): void {
    if (this.#unacknowledged < ACKNOWLEDGE_BYTES || this.destroyed) return;
    this.#send({ type: 'windowUpdate', streamId: this.id, delta: this.#unacknowledged });
    this.#unacknowledged = 0;
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
    let rest = chunk;
    for (; rest.length > MAX_DATA_BYTES; rest = rest.subarray(MAX_DATA_BYTES))
      this.#send({ type: 'data', streamId: this.id, fin: false, data: rest.subarray(0, MAX_DATA_BYTES) }, () => undefined);
    this.#send({ type: 'data', streamId: this.id, fin: false, data: rest }, done);
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
  readonly times: Pick<StreamTimes, 'idleMs' | 'probeMs'>;
}

export class SpdyConnection {
  readonly #transport: Duplex;
  readonly #options: SpdyOptions;
  readonly #streams = new Map<number, SpdyStream>();
  readonly #encodeHeaders = createHeaderEncoder();
  readonly #idle: NodeJS.Timeout;
  #lastId = 0;
  #open = true;
  #finishing = false;
  #answerBytes = 0;
  #probes = 0;
  /** Resolves when the transport is closed, by whichever side. */
  readonly closed: Promise<void>;

  constructor(transport: Duplex, options: SpdyOptions) {
    this.#transport = transport;
    this.#options = options;
    this.#idle = setTimeout(() => this.destroy(), options.times.idleMs).unref();
    transport.on('error', () => undefined);
    // Also while it is not read from.
    transport.once('close', () => this.#drop());
    this.closed = this.#run();
  }

  /** Says that no more comes, and waits for the client to close: it alone knows when it has read all. */
  async finish(): Promise<void> {
    this.#send({ type: 'goaway', lastStreamId: this.#lastId, status: 0 });
    this.#finishing = true;
    await this.closed;
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
          this.#keepAlive();
          await this.#take(frame, headers.decode);
        }
    } catch {
      // Not SPDY, or cut off: either way the connection is over.
    } finally {
      clearTimeout(this.#idle);
      headers.close();
      this.#drop();
      this.#transport.destroy();
    }
  }

  #drop(): void {
    this.#open = false;
    for (const stream of [...this.#streams.values()]) stream.receiveReset();
  }

  #keepAlive(): void {
    if (!this.#finishing) this.#idle.refresh();
  }

  async #take(frame: Frame, decode: (block: Buffer) => Promise<SpdyHeaders>): Promise<void> {
    switch (frame.type) {
      case 'synStream':
        return this.#accept(frame.streamId, frame.fin, await decode(frame.block));
      case 'data': {
        const stream = this.#streams.get(frame.streamId);
        if (stream !== undefined && !stream.receive(frame.data, frame.fin)) await this.#hold(stream);
        return;
      }
      case 'headers':
        // Read for the compressor's sake; no client means anything by them but perhaps the end.
        await decode(frame.block);
        if (frame.fin) this.#streams.get(frame.streamId)?.receive(Buffer.alloc(0), true);
        return;
      case 'rstStream':
        this.#streams.get(frame.streamId)?.receiveReset();
        return;
      case 'ping':
        // Even ids are answers to ours.
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
    if (fin) stream.receive(Buffer.alloc(0), true);
  }

  /** Nothing is read until the stream's reader has caught up. Only writing tells that the client is gone meanwhile. */
  async #hold(stream: SpdyStream): Promise<void> {
    const probe = setInterval(() => {
      this.#probes += 2;
      this.#transport.write(encodeFrame({ type: 'ping', id: this.#probes }));
    }, this.#options.times.probeMs);
    await stream.drained();
    clearInterval(probe);
  }

  #send(frame: Parameters<typeof encodeFrame>[0], done?: Done): void {
    if (!this.#open || !this.#transport.writable) {
      done?.(new Error('the connection is closed'));
      return;
    }
    this.#keepAlive();
    const bytes = encodeFrame(frame);
    if (done !== undefined) {
      this.#transport.write(bytes, done);
      return;
    }
    this.#answerBytes += bytes.length;
    if (this.#answerBytes > MAX_ANSWER_BYTES) this.destroy();
    else
      this.#transport.write(bytes, () => {
        this.#answerBytes -= bytes.length;
      });
  }
}
