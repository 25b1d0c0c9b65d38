// Owns DNS messages on a TCP stream: each behind its length in two bytes (RFC 1035, 4.2.2; RFC 7766).
import type { Socket } from 'node:net';

const LENGTH_BYTES = 2;

export function writeFrame(socket: Socket, message: Buffer): void {
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt16BE(message.length);
  // One write: some clients take a length alone for the whole.
  socket.write(Buffer.concat([length, message]));
}

export function readFrames(socket: Socket, onMessage: (message: Buffer) => void): void {
  let rest = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= LENGTH_BYTES) {
      const end = LENGTH_BYTES + rest.readUInt16BE(0);
      if (rest.length < end) break;
      const message = rest.subarray(LENGTH_BYTES, end);
      rest = rest.subarray(end);
      onMessage(message);
    }
  });
}
