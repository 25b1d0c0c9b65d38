// Owns where this invocation's node is: directories and sockets from flags, the config file and defaults.
import os from 'node:os';
import path from 'node:path';
import { usageError } from '../error.ts';
import type { Flags } from './flags.ts';

export interface Settings {
  readonly nodeName: string;
  readonly rootDir: string;
  readonly runDir: string;
  readonly logDir: string;
  readonly agentSocket: string;
  /** Another CRI runtime's socket; absent: our own runtime, embedded. */
  readonly foreignRuntime: string | undefined;
  readonly criSocket: string;
}

function absolute(flag: string, value: string): string {
  if (value === '') throw usageError(`--${flag} is empty`);
  return path.resolve(value);
}

/** unix:///run/x.sock or a bare path; other schemes are refused. */
function socketPath(flag: string, value: string): string {
  const match = /^(?:(\w+):\/\/)?(.*)$/.exec(value);
  if (match?.[1] !== undefined && match[1] !== 'unix') throw usageError(`--${flag} ${value}: only unix sockets are served (unix:///path)`);
  return absolute(flag, match?.[2] ?? '');
}

export function readSettings(flags: Flags): Settings {
  const rootDir = absolute('root-dir', flags['root-dir'] ?? '/var/lib/tskubelet');
  const runDir = absolute('run-dir', flags['run-dir'] ?? '/run/tskubelet');
  const endpoint = flags['container-runtime-endpoint'];
  const foreign =
    flags['cri-socket'] !== undefined
      ? socketPath('cri-socket', flags['cri-socket'])
      : endpoint === undefined
        ? undefined
        : socketPath('container-runtime-endpoint', endpoint);
  return {
    nodeName: (flags['node-name'] ?? os.hostname()).toLowerCase(),
    rootDir,
    runDir,
    logDir: absolute('log-dir', flags['log-dir'] ?? '/var/log/pods'),
    agentSocket: path.join(runDir, 'agent.sock'),
    foreignRuntime: foreign,
    criSocket: foreign ?? path.join(runDir, 'cri.sock'),
  };
}
