// Owns where this invocation's node is: directories and sockets from flags, the config file and defaults.
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { parseDurationMs } from '../config/duration.ts';
import type { DnsSettings } from '../dns/node-dns.ts';
import { usageError } from '../error.ts';
import { DEFAULT_IMAGE_GC, type ImageGcPolicy, policyProblem } from '../image/gc-plan.ts';
import { type Flags, numberFlag } from './flags.ts';
import type { StreamingListen } from './runtime-half.ts';

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

export const DEFAULTS = {
  'root-dir': '/var/lib/tskubelet',
  'run-dir': '/run/tskubelet',
  'log-dir': '/var/log/pods',
  'cluster-domain': 'cluster.local',
  'resolv-conf': '/etc/resolv.conf',
  'read-only-address': '127.0.0.1',
  'read-only-port': '10255',
} as const;

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

function foreignRuntime(flags: Flags): string | undefined {
  for (const flag of ['cri-socket', 'container-runtime-endpoint'] as const) {
    const value = flags[flag];
    if (value !== undefined) return socketPath(flag, value);
  }
  return undefined;
}

/** Labels of letters, digits and hyphens. */
const DOMAIN = /^(?=.{1,200}$)([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$/;

// RFC 1123, as the API server asks it of a node's name.
const NODE_NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;

function nodeName(flag: string | undefined): string {
  const name = (flag ?? os.hostname()).trim().toLowerCase();
  if (!NODE_NAME.test(name))
    throw usageError(
      `${flag === undefined ? 'the hostname' : '--node-name'} "${name}" is no name for a node: letters, digits, "-" and "." only; give --node-name`,
    );
  return name;
}

export function readSettings(flags: Flags): Settings {
  const directory = (flag: 'root-dir' | 'run-dir' | 'log-dir') => absolute(flag, flags[flag] ?? DEFAULTS[flag]);
  const runDir = directory('run-dir');
  const foreign = foreignRuntime(flags);
  return {
    nodeName: nodeName(flags['node-name']),
    rootDir: directory('root-dir'),
    runDir,
    logDir: directory('log-dir'),
    agentSocket: path.join(runDir, 'agent.sock'),
    foreignRuntime: foreign,
    criSocket: foreign ?? path.join(runDir, 'cri.sock'),
  };
}

/** What only a daemon needs beyond that. */
export interface NodeSettings extends Settings {
  readonly manifests: readonly string[];
  readonly fileCheckFrequencyMs: number | undefined;
  /** None: the defaults of the network, one range of each family. */
  readonly podCidrs: readonly string[];
  readonly nonMasqueradeCidrs: readonly string[];
  readonly cniConfDir: string | undefined;
  readonly cniBinDirs: readonly string[] | undefined;
  readonly dns: DnsSettings;
  readonly cgroupRoot: string | undefined;
  readonly registryConfigDir: string | undefined;
  /** The kubelet's credential provider plugins: their configuration and their programs. */
  readonly credentialProviders: { readonly configFile: string; readonly binDir: string } | undefined;
  readonly streaming: StreamingListen;
  /** Name of a runtime handler to the executable of an OCI runtime. */
  readonly runtimeHandlers: Readonly<Record<string, string>>;
  readonly readOnlyAddress: string;
  readonly readOnlyPort: number;
  readonly logFormat: 'text' | 'json';
  readonly logLevel: 'debug' | 'info' | 'warn';
  readonly stopPodsOnExit: boolean;
  readonly allowNoLimits: boolean;
  readonly imageGc: ImageGcPolicy;
}

export function readNodeSettings(flags: Flags, options: { readonly logLevel?: NodeSettings['logLevel'] } = {}): NodeSettings {
  const format = flags['log-format'] ?? 'text';
  if (format !== 'text' && format !== 'json') throw usageError(`--log-format ${format}: expected text or json`);
  const verbosity = numberFlag(flags, 'v', { min: 0, max: 10 });
  const otherwise = flags['log-format'] === undefined ? (options.logLevel ?? 'info') : 'info';
  const registryConfigDir = flags['registry-config-dir'];
  return {
    ...readSettings(flags),
    manifests: (flags.manifests ?? []).map((place) => manifestPath(place)),
    fileCheckFrequencyMs: durationFlag(flags, 'file-check-frequency'),
    podCidrs: listFlag(flags['pod-cidr']),
    nonMasqueradeCidrs: listFlag(flags['non-masquerade-cidr']),
    cniConfDir: flags['cni-conf-dir'] === undefined ? undefined : absolute('cni-conf-dir', flags['cni-conf-dir']),
    cniBinDirs: flags['cni-bin-dir']?.split(',').map((directory) => absolute('cni-bin-dir', directory.trim())),
    dns: readDns(flags),
    cgroupRoot: flags['cgroup-root'],
    registryConfigDir: registryConfigDir === undefined ? undefined : absolute('registry-config-dir', registryConfigDir),
    credentialProviders: readCredentialProviders(flags),
    streaming: readStreaming(flags),
    runtimeHandlers: runtimeHandlers(flags['runtime-handler'] ?? []),
    readOnlyAddress: flags['read-only-address'] ?? DEFAULTS['read-only-address'],
    readOnlyPort: numberFlag(flags, 'read-only-port', { min: 0, max: 65535 }) ?? Number(DEFAULTS['read-only-port']),
    logFormat: format,
    logLevel: verbosity === undefined ? otherwise : verbosity >= 4 ? 'debug' : verbosity >= 1 ? 'info' : 'warn',
    stopPodsOnExit: flags['stop-pods-on-exit'] ?? false,
    allowNoLimits: flags['allow-no-limits'] ?? false,
    imageGc: readImageGc(flags),
  };
}

function readImageGc(flags: Flags): ImageGcPolicy {
  const percent = { min: 0, max: 100 };
  const policy = {
    highThresholdPercent: numberFlag(flags, 'image-gc-high-threshold', percent) ?? DEFAULT_IMAGE_GC.highThresholdPercent,
    lowThresholdPercent: numberFlag(flags, 'image-gc-low-threshold', percent) ?? DEFAULT_IMAGE_GC.lowThresholdPercent,
    minimumAgeMs: durationFlag(flags, 'minimum-image-ttl-duration', { zero: true }) ?? DEFAULT_IMAGE_GC.minimumAgeMs,
    maximumAgeMs: durationFlag(flags, 'maximum-image-ttl-duration', { zero: true }) ?? DEFAULT_IMAGE_GC.maximumAgeMs,
  };
  const problem = policyProblem(policy);
  if (problem !== undefined) throw usageError(problem);
  return policy;
}

/** Values with commas between them. */
const listFlag = (text = ''): readonly string[] => text.split(',').flatMap((value) => value.trim() || []);

function readDns(flags: Flags): DnsSettings {
  const clusterServers = listFlag(flags['cluster-dns']);
  for (const address of clusterServers)
    if (net.isIP(address) === 0) throw usageError(`--cluster-dns ${address}: expected an IP address, or several with commas between them`);
  const clusterDomain = (flags['cluster-domain'] ?? DEFAULTS['cluster-domain']).replace(/\.$/, '').toLowerCase();
  if (!DOMAIN.test(clusterDomain)) throw usageError(`--cluster-domain ${clusterDomain}: expected a domain such as cluster.local`);
  const resolvConf = flags['resolv-conf'] ?? DEFAULTS['resolv-conf'];
  return { clusterServers, clusterDomain, resolvConf: resolvConf === '' ? '' : absolute('resolv-conf', resolvConf) };
}

function readCredentialProviders(flags: Flags): NodeSettings['credentialProviders'] {
  const { 'image-credential-provider-config': configFile, 'image-credential-provider-bin-dir': binDir } = flags;
  if (configFile === undefined && binDir === undefined) return undefined;
  if (configFile === undefined || binDir === undefined)
    throw usageError('--image-credential-provider-config and --image-credential-provider-bin-dir need each other');
  return {
    configFile: absolute('image-credential-provider-config', configFile),
    binDir: absolute('image-credential-provider-bin-dir', binDir),
  };
}

function readStreaming(flags: Flags): StreamingListen {
  const port = numberFlag(flags, 'streaming-port', { min: 0, max: 65535 });
  const idleMs = durationFlag(flags, 'streaming-connection-idle-timeout');
  const { 'streaming-address': address, 'streaming-tls-cert-file': certFile, 'streaming-tls-private-key-file': keyFile } = flags;
  if (address !== undefined && net.isIP(address) === 0) throw usageError(`--streaming-address ${address}: expected an IP address`);
  if ((certFile === undefined) !== (keyFile === undefined))
    throw usageError(
      `--streaming-tls-${certFile === undefined ? 'private-key' : 'cert'}-file needs --streaming-tls-${certFile === undefined ? 'cert' : 'private-key'}-file beside it`,
    );
  return {
    ...(address === undefined ? {} : { address }),
    ...(port === undefined ? {} : { port }),
    ...(idleMs === undefined ? {} : { idleMs }),
    ...(certFile === undefined || keyFile === undefined
      ? {}
      : { tls: { certFile: absolute('streaming-tls-cert-file', certFile), keyFile: absolute('streaming-tls-private-key-file', keyFile) } }),
  };
}

// RFC 1123 label: what the API server asks of a RuntimeClass' handler.
const HANDLER_NAME = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;

function runtimeHandlers(values: readonly string[]): Readonly<Record<string, string>> {
  const handlers: Record<string, string> = {};
  for (const value of values) {
    const at = value.indexOf('=');
    const name = value.slice(0, Math.max(at, 0));
    const file = value.slice(at + 1);
    if (!HANDLER_NAME.test(name) || !file.startsWith('/'))
      throw usageError(`--runtime-handler ${value}: expected NAME=PATH, such as crun=/usr/bin/crun`);
    if (name === 'tskubelet' || name in handlers)
      throw usageError(`--runtime-handler ${value}: "${name}" is ${name in handlers ? 'given twice' : 'our own runtime'}`);
    handlers[name] = file;
  }
  return handlers;
}

type DurationFlag =
  | 'file-check-frequency'
  | 'streaming-connection-idle-timeout'
  | 'minimum-image-ttl-duration'
  | 'maximum-image-ttl-duration';

function durationFlag(flags: Flags, name: DurationFlag, { zero = false } = {}): number | undefined {
  const text = flags[name];
  const ms = text === undefined ? undefined : parseDurationMs(text);
  if (text !== undefined && (ms === undefined || ms < 0 || (ms === 0 && !zero)))
    throw usageError(`--${name} ${text}: expected a duration such as 20s or 1m`);
  return ms;
}

function manifestPath(place: string): string {
  if (/^https?:\/\//.test(place))
    throw usageError(`--manifests ${place}: URLs are not served by this version of tskubelet yet; give a folder or a file`);
  return absolute('manifests', place);
}

/** The flags that tell another command of this node from the default one: " --run-dir /x", or "". */
export function renderWhere({ runDir }: Settings): string {
  return runDir === DEFAULTS['run-dir'] ? '' : ` --run-dir ${runDir}`;
}

/** How this program was called, for commands that its user may paste. */
export function programName(): string {
  const command = process.env.TSKUBELET_COMMAND ?? 'tskubelet';
  return (process.env.PATH ?? '').split(path.delimiter).includes(path.dirname(command)) ? path.basename(command) : command;
}
