// Owns connections to the ports of a sandbox: made on localhost in its network namespace, IPv4 first, as the programs in it would.
import fs from 'node:fs';
import type { Duplex } from 'node:stream';
import { notFound } from '../errors.ts';
import { hasCode } from '../linux/errno.ts';
import { connectLoopback } from '../linux/tcp.ts';
import { isAlive } from '../state/process-identity.ts';
import type { Sandbox } from './sandbox.ts';

const CONNECT_MS = 10_000;

export async function connectInSandbox(sandbox: Sandbox, port: number, signal: AbortSignal): Promise<Duplex> {
  const { pause } = sandbox.record;
  if (pause === undefined) throw notFound(`sandbox ${sandbox.id} has no pause process`);
  const netns = fs.openSync(`/proc/${pause.pid}/ns/net`, 'r');
  try {
    // Asked after the descriptor is open: before, the pid might have become another process's.
    if (!isAlive(pause)) throw notFound(`the pause process of sandbox ${sandbox.id} has ended`);
    return await connectLoopback(netns, { family: 4, port, timeoutMs: CONNECT_MS, signal }).catch(async (refusal: unknown) => {
      if (!hasCode(refusal, 'ECONNREFUSED')) throw refusal;
      return connectLoopback(netns, { family: 6, port, timeoutMs: CONNECT_MS, signal }).catch(() => {
        throw refusal;
      });
    });
  } catch (cause) {
    throw new Error(`connect to port ${port} of sandbox ${sandbox.id.slice(0, 12)} on localhost, IPv4 and IPv6`, { cause });
  } finally {
    fs.closeSync(netns);
  }
}
