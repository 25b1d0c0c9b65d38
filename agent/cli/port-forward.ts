// Owns `port-forward`: listens on this machine, and carries each connection to a port on localhost of a pod, until it is interrupted.
import net from 'node:net';
import { CommandError, usageError } from '../error.ts';
import type { Invocation } from './flags.ts';
import { type Forward, type LocalAddress, parseAddresses, parseForward, renderAddress } from './forwards.ts';
import { findPod, parsePodName, streamPath } from './pod-name.ts';
import { readSettings } from './settings.ts';

const USAGE = 'port-forward POD [LOCAL:]REMOTE…';

type Connect = (socket: net.Socket, remote: number) => void;

export async function portForward({ flags, words }: Invocation): Promise<number> {
  const target = parsePodName(words[0], flags, USAGE);
  if (words.length < 2) throw usageError(`which port? usage: tskubelet ${USAGE}`);
  const addresses = parseAddresses(flags.address);
  const settings = readSettings(flags);
  const pod = await findPod(settings, target);
  const forwards = words.slice(1).map((word) => parseForward(word, pod));
  const phase = pod.status?.phase ?? 'Pending';
  if (phase !== 'Running') throw new CommandError(`pod ${target.name} does not run: it is ${phase}`);

  const { forwardConnection, PodGone } = await import('./forward-connection.ts');
  const { promise: lost, reject: lose } = Promise.withResolvers<never>();
  const interrupted = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve());
  });
  const path = streamPath('portForward', { namespace: target.namespace, name: target.name });
  const connect: Connect = (socket, remote) => {
    process.stdout.write(`Handling connection for ${socket.localPort}\n`);
    forwardConnection(settings, `${path}?port=${remote}`, socket).catch((error: unknown) => {
      socket.destroy();
      if (error instanceof PodGone) lose(new CommandError(`the pod cannot be reached any more`, 1, error));
      else process.stderr.write(`tskubelet: port ${remote} of pod ${target.name}: ${error instanceof Error ? error.message : error}\n`);
    });
  };
  const servers = (await Promise.all(forwards.map((forward) => listenFor(forward, addresses, connect)))).flat();
  await Promise.race([lost, interrupted]);
  for (const server of servers) server.close();
  return 0;
}

async function listenFor({ local, remote }: Forward, addresses: readonly LocalAddress[], connect: Connect): Promise<net.Server[]> {
  const servers: net.Server[] = [];
  let port = local;
  let refusal: unknown;
  for (const { host, optional } of addresses) {
    const server = net.createServer({ allowHalfOpen: true }, (socket) => connect(socket, remote));
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(port, host, resolve);
      });
    } catch (error) {
      if (!optional) throw listenError(renderAddress(host, port), error);
      refusal = error;
      continue;
    }
    // A free port is one for all addresses.
    port = (server.address() as net.AddressInfo).port;
    process.stdout.write(`Forwarding from ${renderAddress(host, port)} -> ${remote}\n`);
    servers.push(server);
  }
  if (servers.length === 0) throw listenError(`port ${local}`, refusal);
  return servers;
}

function listenError(where: string, error: unknown): CommandError {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'EADDRINUSE') return new CommandError(`${where} is in use: choose another local port, or ":PORT" for a free one`);
  if (code === 'EADDRNOTAVAIL') return new CommandError(`${where}: no such address on this machine; choose another with --address`);
  return new CommandError(`listen on ${where}`, 1, error);
}
