// A SPDY/3.1 connection as its server sees it: streams that the client opens, each a Duplex. What we receive is acknowledged as the
// draft says. The send window is not waited for: Kubernetes' clients (moby/spdystream) never open it, so every stream would stop after
// 64 KiB; TCP holds up whoever is too fast.
import { Duplex } from 'node:stream';
import { encodeFrame, type Frame, FrameReader, RST } from './spdy-frame.ts';
import { createHeaderDecoder, createHeaderEncoder, type SpdyHeaders } from './spdy-headers.ts';
import type { StreamTimes } from './times.ts';

/** What one stream may have unread before the whole connection waits for its reader. */
const UNREAD_BYTES = 1 << 20;
/** What all streams of a connection may have unread: a client may open a thousand that nobody reads from. */
const ALL_UNREAD_BYTES = 16 << 20;
/** What a frame costs beside its bytes, roughly: thousands of tiny ones must not look like nothing. */
const FRAME_COST_BYTES = 256;
/** Shorter data is copied, for it would hold the whole chunk of the socket that it came in. */
const COPIED_BYTES = 4096;
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

/** What a stream needs of its connection. */
interface StreamEnds {
  readonly send: Send;
  readonly gone: () => void;
  /** More unread, or less. */
  readonly charge: (bytes: number) => void;
}

export class SpdyStream extends Duplex {
  readonly id: number;
  readonly headers: SpdyHeaders;
  readonly #send: Send;
  readonly #gone: () => void;
  readonly #charge: (bytes: number) => void;
  #reset = false;
  #ended = false;
  #unacknowledged = 0;
  /** Frames that came since nothing was unread. */
  #frames = 0;
  #charged = 0;

  constructor(id: number, headers: SpdyHeaders, { send, gone, charge }: StreamEnds) {
    super({ allowHalfOpen: true, readableHighWaterMark: UNREAD_BYTES });
    this.id = id;
    this.headers = headers;
    this.#send = send;
    this.#gone = gone;
    this.#charge = charge;
    // Who fails is told by the connection's end; a stream without a reader must not end the process.
    this.on('error', () => undefined);
  }

  /** Whether its reader is behind. */
  get isFull(): boolean {
    return this.#charged >= UNREAD_BYTES;
  }

  /** Data from the client. */
  receive(data: Buffer, fin: boolean): void {
    if (this.destroyed || this.#ended) return;
    if (data.length > 0) {
      this.#frames++;
      this.push(data.length < COPIED_BYTES ? Buffer.from(data) : data);
    }
    this.#unacknowledged += data.length;
    if (fin) {
      this.#ended = true;
      this.push(null);
    }
    this.#account();
  }

  /** Every way of reading comes through here. */
  override read(size?: number): unknown {
    const chunk: unknown = super.read(size);
    this.#account();
    return chunk;
  }

  #account(): void {
    if (this.readableLength === 0) this.#frames = 0;
    const cost = this.destroyed ? 0 : this.readableLength + this.#frames * FRAME_COST_BYTES;
    const change = cost - this.#charged;
    this.#charged = cost;
    if (change !== 0) this.#charge(change);
    if (!this.isFull && !this.#ended) this.#acknowledge();
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
    // Data is pushed as it comes.
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
    this.#account();
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
  #unreadBytes = 0;
  #roomMade: (() => void) | undefined;
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
        stream?.receive(frame.data, frame.fin);
        if (stream !== undefined && this.#mustWait(stream)) await this.#hold(stream);
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
    const stream = new SpdyStream(id, headers, {
      send: (frame, done) => this.#send(frame, done),
      gone: () => this.#streams.delete(id),
      charge: (bytes) => {
        this.#unreadBytes += bytes;
        if (bytes < 0) this.#roomMade?.();
      },
    });
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

  #mustWait(stream: SpdyStream): boolean {
    return this.#open && (stream.isFull || this.#unreadBytes >= ALL_UNREAD_BYTES);
  }

  /** Nothing is read until readers have caught up. Only writing tells that the client is gone meanwhile. */
  async #hold(stream: SpdyStream): Promise<void> {
    const probe = setInterval(() => {
      this.#probes += 2;
      this.#transport.write(encodeFrame({ type: 'ping', id: this.#probes }));
    }, this.#options.times.probeMs);
    while (this.#mustWait(stream))
      await new Promise<void>((resolve) => {
        this.#roomMade = resolve;
      });
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
