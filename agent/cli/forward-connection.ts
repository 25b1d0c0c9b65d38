// Owns one forwarded connection: a WebSocket of its own, on whose channel 0 its bytes go both ways. Channel 1 has the refusal.
import type net from 'node:net';
import { CommandError } from '../error.ts';
import type { Settings } from './settings.ts';
import { channelWriter, onMessages, openStream, RefusedStream } from './stream-client.ts';

const DATA = 0;
const ERROR = 1;
/** Each channel starts with the number of its port. */
const PORT_BYTES = 2;

/** The agent refuses the pod itself, not one of its ports. */
export class PodGone extends CommandError {}

/** Resolves when both sides are done; throws what the pod's side refused the connection with. */
export async function forwardConnection(settings: Settings, path: string, local: net.Socket): Promise<void> {
  local.on('error', () => local.destroy());
  const socket = await openStream(settings, path, ['v4.channel.k8s.io']).catch((error: unknown) => {
    throw error instanceof RefusedStream ? new PodGone('', 1, error) : error;
  });
  const left = { [DATA]: PORT_BYTES, [ERROR]: PORT_BYTES };
  let refusal = '';
  onMessages(socket, (channel, bytes) => {
    if (channel !== DATA && channel !== ERROR) return undefined;
    if (left[channel] > 0) {
      left[channel] -= bytes.length;
      return undefined;
    }
    if (channel === DATA) return local;
    refusal += bytes.toString('utf8');
    return undefined;
  });
  local.pipe(channelWriter(socket, DATA));
  local.once('close', () => socket.close());
  await new Promise<void>((resolve) => socket.once('close', () => resolve()));
  if (refusal !== '') throw new Error(refusal);
  local.end(() => local.destroy());
}
