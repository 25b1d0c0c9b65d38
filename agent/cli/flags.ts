// Owns the command line's flags: what there is, what it means, and the reading of argv. Flags may stand before or after the subcommand.
import { parseArgs } from 'node:util';
import { usageError } from '../error.ts';
import { suggest } from './nearest.ts';

export interface Flag {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  readonly multiple?: true;
  readonly value?: string;
  readonly help: string;
}

/** Flags of the node. The ones that say where things are serve every command. */
export const NODE_FLAGS = {
  manifests: { type: 'string', multiple: true, value: 'PATH', help: 'folder or file with Pod YAML or JSON; repeatable' },
  'node-name': { type: 'string', value: 'NAME', help: "this node's name (default: the hostname)" },
  'root-dir': { type: 'string', value: 'DIR', help: 'images, containers, volumes (default /var/lib/tskubelet)' },
  'run-dir': { type: 'string', value: 'DIR', help: 'sockets and what a reboot ends, on a tmpfs (default /run/tskubelet)' },
  'log-dir': { type: 'string', value: 'DIR', help: 'container logs (default /var/log/pods)' },
  'cri-socket': { type: 'string', value: 'PATH', help: 'use the CRI runtime at this socket instead of our own' },
  'container-runtime-endpoint': { type: 'string', value: 'URL', help: 'the same as the kubelet spells it: unix:///path' },
  'cgroup-root': { type: 'string', value: 'PATH', help: 'cgroup of everything of this node (default / or the delegated one)' },
  'pod-cidr': {
    type: 'string',
    value: 'CIDR[,CIDR]',
    help: 'pod addresses, a range or one of each family, the primary first (default 10.244.0.0/24 and an IPv6 range of its own)',
  },
  'non-masquerade-cidr': {
    type: 'string',
    value: 'CIDR[,CIDR]',
    help: "networks that see pods by their own addresses, such as other nodes' pods (default: none)",
  },
  'cluster-dns': {
    type: 'string',
    value: 'IP[,IP]',
    help: "name servers of pods (default: this node answers itself, on the bridge's address)",
  },
  'cluster-domain': { type: 'string', value: 'NAME', help: "domain of the pods' names (default cluster.local)" },
  'resolv-conf': { type: 'string', value: 'FILE', help: 'the host\'s name servers; "" for none (default /etc/resolv.conf)' },
  'cni-conf-dir': {
    type: 'string',
    value: 'DIR',
    help: 'CNI configuration lists; the first one there takes the place of the built-in network',
  },
  'cni-bin-dir': {
    type: 'string',
    value: 'DIR[,DIR]',
    help: 'CNI plugin executables, preferred to the built-in types (default: /opt/cni/bin, /usr/lib/cni, for other types)',
  },
  'registry-config-dir': { type: 'string', value: 'DIR', help: 'hosts.toml directories of registry mirrors' },
  'image-credential-provider-config': {
    type: 'string',
    value: 'FILE',
    help: "the kubelet's CredentialProviderConfig: plugins that know credentials for registries",
  },
  'image-credential-provider-bin-dir': { type: 'string', value: 'DIR', help: 'where the programs of those plugins are' },
  'streaming-address': {
    type: 'string',
    value: 'IP',
    help: 'address of exec, attach and port-forward of our own runtime (default 127.0.0.1)',
  },
  'streaming-port': { type: 'string', value: 'PORT', help: 'their port (default 0, a free one)' },
  'streaming-tls-cert-file': {
    type: 'string',
    value: 'FILE',
    help: 'serve them over TLS with this certificate (PEM, its chain behind it)',
  },
  'streaming-tls-private-key-file': { type: 'string', value: 'FILE', help: "that certificate's key (PEM)" },
  'streaming-connection-idle-timeout': {
    type: 'string',
    value: 'DURATION',
    help: 'end of such a connection on which nothing comes or goes (default 4h)',
  },
  'runtime-handler': {
    type: 'string',
    multiple: true,
    value: 'NAME=PATH',
    help: 'an OCI runtime for pods of this runtime handler, such as crun=/usr/bin/crun; repeatable',
  },
  'read-only-address': { type: 'string', value: 'IP', help: 'address of /pods, /healthz and /metrics (default 127.0.0.1)' },
  'read-only-port': { type: 'string', value: 'PORT', help: 'their port; 0 switches it off (default 10255)' },
  'file-check-frequency': { type: 'string', value: 'DURATION', help: 'how often manifests are looked at without an event (default 20s)' },
  'image-gc-high-threshold': {
    type: 'string',
    value: 'PERCENT',
    help: 'unused images are removed from this use of their disk on (default 85; 100: never)',
  },
  'image-gc-low-threshold': { type: 'string', value: 'PERCENT', help: 'until its use is down to this (default 80)' },
  'minimum-image-ttl-duration': { type: 'string', value: 'DURATION', help: 'younger images are spared (default 2m)' },
  'maximum-image-ttl-duration': { type: 'string', value: 'DURATION', help: 'images unused for longer are removed (default 0s: never)' },
  config: { type: 'string', value: 'FILE', help: 'KubeletConfiguration (kubelet.config.k8s.io/v1beta1); flags win over it' },
  'log-format': { type: 'string', value: 'FORMAT', help: "text or json, for tskubelet's own log on stderr (default text)" },
  v: { type: 'string', short: 'v', value: 'LEVEL', help: 'verbosity of that log: 0 warnings, 2 events (default), 4 everything' },
  'stop-pods-on-exit': { type: 'boolean', help: 'end the pods with the daemon; otherwise they run on, as under a kubelet' },
  'allow-no-limits': { type: 'boolean', help: 'run without cgroups where they cannot be written' },
} as const satisfies Record<string, Flag>;

export const COMMAND_FLAGS = {
  namespace: { type: 'string', short: 'n', value: 'NAME', help: 'namespace (default "default")' },
  'all-namespaces': { type: 'boolean', short: 'A', help: 'pods of all namespaces' },
  output: { type: 'string', short: 'o', value: 'FORMAT', help: 'wide, json, yaml or name, where the command has them' },
  container: { type: 'string', short: 'c', value: 'NAME', help: "container (default: the pod's first)" },
  follow: { type: 'boolean', short: 'f', help: 'go on as the log grows' },
  previous: { type: 'boolean', short: 'p', help: 'the log of the container before its last restart' },
  tail: { type: 'string', value: 'N', help: 'only the last N lines' },
  since: { type: 'string', value: 'DURATION', help: 'only newer lines: 5s, 2m, 3h' },
  timestamps: { type: 'boolean', help: 'each line with its time' },
  stdin: { type: 'boolean', short: 'i', help: 'pass standard input on' },
  tty: { type: 'boolean', short: 't', help: 'give the command a terminal' },
  address: { type: 'string', value: 'IP[,IP]', help: 'where to listen on this machine (default localhost)' },
  'dry-run': { type: 'string', value: 'FILE', help: 'explain what a start of this manifest would do; nothing is started' },
  all: { type: 'boolean', short: 'a', help: 'not only what has no name' },
  creds: { type: 'string', value: 'USER[:PASSWORD]', help: 'for the registry; without PASSWORD it is read from standard input' },
  bin: { type: 'string', multiple: true, value: 'PATH', help: 'a program to put into the image; repeatable' },
  help: { type: 'boolean', short: 'h', help: 'this text' },
  version: { type: 'boolean', help: 'print the version' },
} as const satisfies Record<string, Flag>;

const FLAGS = { ...NODE_FLAGS, ...COMMAND_FLAGS } as const;

export type CommandFlag = keyof typeof COMMAND_FLAGS;

/** Flags that the design has and a later version serves: refused by name, so that nobody believes them to work. */
const LATER: readonly string[] = ['kubeconfig', 'client-ca-file', 'port'];

export interface Invocation {
  readonly flags: Flags;
  /** Words before `--`. */
  readonly words: readonly string[];
  /** Words after `--`, the command of exec; undefined without `--`. */
  readonly rest: readonly string[] | undefined;
}

type Value<F extends Flag> = F extends { multiple: true } ? string[] : F['type'] extends 'boolean' ? boolean : string;
export type Flags = { readonly [Name in keyof typeof FLAGS]?: Value<(typeof FLAGS)[Name]> };

/** Splits argv into flags, words and what follows `--`. Unknown flags and missing values are usage errors. */
export function parseArgv(argv: readonly string[]): Invocation {
  const end = argv.indexOf('--');
  const own = end === -1 ? argv : argv.slice(0, end);
  for (const word of own) {
    const name = /^--([^=]+)/.exec(word)?.[1];
    if (name === undefined || name in FLAGS) continue;
    if (LATER.includes(name)) throw usageError(`--${name} is not served by this version of tskubelet yet; leave it out`);
    throw usageError(`unknown flag --${name}${suggest(name, Object.keys(FLAGS), '--')}; 'tskubelet --help' lists the flags`);
  }
  try {
    const { values, positionals } = parseArgs({ args: [...own], options: FLAGS, allowPositionals: true, strict: true });
    return { flags: values as Flags, words: positionals, rest: end === -1 ? undefined : argv.slice(end + 1) };
  } catch (error) {
    throw usageError(renderParseError((error as Error).message));
  }
}

/** `Option '--tail <value>' argument missing` becomes `--tail needs a value`. */
function renderParseError(message: string): string {
  const flag = /'(?:-\w, )?(-[^' ]+)/.exec(message)?.[1] ?? 'a flag';
  if (message.includes('argument missing') || message.includes('argument is ambiguous')) return `${flag} needs a value`;
  if (message.includes('does not take an argument')) return `${flag} takes no value`;
  if (message.includes('Unknown option')) return `unknown flag ${flag}; 'tskubelet --help' lists the flags`;
  return message;
}

/** A whole number in a flag, within bounds. */
export function numberFlag(flags: Flags, name: keyof Flags, { min, max }: { min: number; max: number }): number | undefined {
  const text = flags[name];
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!/^\d+$/.test(String(text)) || value < min || value > max)
    throw usageError(`--${name} ${text}: expected a whole number from ${min} to ${max}`);
  return value;
}

export function renderFlag(name: string, { short, value, help }: Flag): string {
  const long = name === short ? `-${name}` : `${short === undefined ? '    ' : `-${short}, `}--${name}`;
  return `  ${`${long}${value === undefined ? '' : ` ${value}`}`.padEnd(40)} ${help}`;
}
