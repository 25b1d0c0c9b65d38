// Owns DNS messages on a TCP stream: each behind its length in two bytes (RFC 1035, 4.2.2; RFC 7766).
import type { Socket } from 'node:net';

const LENGTH_BYTES = 2;

export function writeFrame(socket: Socket, message: Buffer, onSent?: () => void): void {
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt16BE(message.length);
  // One write: some clients take a length alone for the whole.
  socket.write(Buffer.concat([length, message]), onSent);
}

export interface FrameLimits {
  /** So many messages are worked on; then the sender waits. */
  readonly atOnce?: number;
  /** Of a message; a longer one ends the connection. */
  readonly maxBytes?: number;
}

/** A message is worked on until what `onMessage` gives has settled. */
export function readFrames(
  socket: Socket,
  onMessage: (message: Buffer) => unknown,
  { atOnce = Number.POSITIVE_INFINITY, maxBytes = Number.POSITIVE_INFINITY }: FrameLimits = {},
): void {
  let rest = Buffer.alloc(0);
  let busy = 0;
  const next = () => {
    while (busy < atOnce && rest.length >= LENGTH_BYTES) {
      const length = rest.readUInt16BE(0);
      if (length > maxBytes) return void socket.destroy();
      const end = LENGTH_BYTES + length;
      if (rest.length < end) break;
      const message = rest.subarray(LENGTH_BYTES, end);
      rest = rest.subarray(end);
      busy++;
      void Promise.resolve(onMessage(message)).finally(() => {
        busy--;
        if (!socket.destroyed) next();
      });
    }
    if (busy < atOnce) socket.resume();
    else socket.pause();
  };
  socket.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    next();
  });
}
