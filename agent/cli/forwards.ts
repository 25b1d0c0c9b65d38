// Owns what `port-forward` is asked for: local addresses and ports, ports of the pod. Pure.
import net from 'node:net';
import type { V1Pod } from '@kubernetes/client-node';
import { CommandError, usageError } from '../error.ts';

export interface Forward {
  /** 0: one that is free. */
  readonly local: number;
  readonly remote: number;
}

/** "8080:80", "80" (the same here), ":80" (a free one here); the pod's port may be one of its names. */
export function parseForward(word: string, pod: V1Pod): Forward {
  const parts = word.split(':');
  const remoteText = parts.at(-1) ?? '';
  const localText = parts.length === 1 ? undefined : parts[0];
  if (parts.length > 2 || remoteText === '') throw usageError(`"${word}" is no port: expected REMOTE, LOCAL:REMOTE or :REMOTE`);
  const remote = /^\d+$/.test(remoteText) ? portNumber(remoteText, 1) : namedPort(remoteText, pod);
  const local = localText === undefined ? remote : localText === '' ? 0 : portNumber(localText, 0);
  return { local, remote };
}

function portNumber(text: string, least: number): number {
  if (!/^\d+$/.test(text) || Number(text) < least || Number(text) > 0xffff)
    throw usageError(`"${text}" is no port: expected a number from ${least} to 65535`);
  return Number(text);
}

function namedPort(name: string, { metadata, spec }: V1Pod): number {
  const ports = (spec?.containers ?? []).flatMap((container) => container.ports ?? []);
  const found = ports.find((port) => port.name === name);
  if (found !== undefined) return found.containerPort;
  const names = ports.flatMap((port) => port.name ?? []);
  throw new CommandError(`pod ${metadata?.name} has no port named "${name}"${names.length === 0 ? '' : `: it has ${names.join(', ')}`}`);
}

export interface LocalAddress {
  readonly host: string;
  /** Failing to listen there is no failure, as long as another one works. */
  readonly optional: boolean;
}

/** --address: IP addresses and "localhost", which is 127.0.0.1 and, where there is IPv6, ::1. */
export function parseAddresses(text = 'localhost'): readonly LocalAddress[] {
  const words = [...new Set(text.split(',').map((word) => word.trim()))].filter((word) => word !== '');
  const wrong = words.find((word) => word !== 'localhost' && net.isIP(word) === 0);
  if (wrong !== undefined || words.length === 0)
    throw usageError(`--address ${text}: expected IP addresses or localhost, with commas between`);
  const addresses = words.flatMap((word): LocalAddress[] =>
    word === 'localhost' ? [localAddress('127.0.0.1'), { host: '::1', optional: true }] : [localAddress(word)],
  );
  return addresses.filter(({ host }, i) => addresses.findIndex((other) => other.host === host) === i);
}

const localAddress = (host: string): LocalAddress => ({ host, optional: false });

export function renderAddress(host: string, port: number): string {
  return net.isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}
