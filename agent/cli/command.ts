// Owns which subcommand does what. Each is loaded when it is asked for: `version` does not pay for gRPC.
import { usageError } from '../error.ts';
import { VERSION } from '../version.ts';
import { COMMAND_FLAGS, type CommandFlag, type Invocation, NODE_FLAGS, parseArgv, renderFlag } from './flags.ts';
import type { RuntimeHalf } from './runtime-half.ts';

interface Command {
  readonly usage: string;
  readonly help: string;
  /** More lines for `--help` of this command. */
  readonly details?: readonly string[];
  /** Its own flags; any other one of a command is refused. */
  readonly flags: readonly CommandFlag[];
  /** Resolves to the exit code. */
  run(invocation: Invocation, runtime: RuntimeHalf): Promise<number>;
}

const COMMANDS: Readonly<Record<string, Command>> = {
  runtime: {
    usage: 'runtime',
    help: 'the CRI runtime alone, for crictl and a stock kubelet',
    flags: [],
    run: async (invocation, runtime) => (await import('./runtime-daemon.ts')).runRuntime(invocation, runtime),
  },
  run: {
    usage: 'run FILE',
    help: "one manifest in the foreground: its logs here, its exit code is the command's",
    details: [
      'A tskubelet on the same --run-dir runs the pod; without one, this command is agent and runtime for its lifetime.',
      'Exit code: that of the first container that failed, in the order of the manifest; 128 + n for signal n; 125 when the pod could not run.',
      'Ctrl-C ends the pod gracefully (130). Nothing of it is left afterwards.',
    ],
    flags: [],
    run: async (invocation, runtime) => (await import('./run.ts')).run(invocation, runtime),
  },
  get: {
    usage: 'get pods [NAME…]',
    help: 'pods and their state',
    details: ['-o wide adds address, node, and the sentence of what is wrong.'],
    flags: ['namespace', 'all-namespaces', 'output'],
    run: async (invocation) => (await import('./get.ts')).get(invocation),
  },
  describe: {
    usage: 'describe pod POD…',
    help: 'everything about a pod: its containers, conditions, volumes and events',
    details: ['While an image is pulled: how far that is, and how long it will take.'],
    flags: ['namespace'],
    run: async (invocation) => (await import('./describe.ts')).describe(invocation),
  },
  logs: {
    usage: 'logs POD',
    help: "a container's output",
    details: ['Works without a running tskubelet too: from the files in --log-dir.'],
    flags: ['namespace', 'container', 'follow', 'previous', 'tail', 'since', 'timestamps'],
    run: async (invocation) => (await import('./logs.ts')).logs(invocation),
  },
  exec: {
    usage: 'exec [-i] [-t] POD -- COMMAND [ARG…]',
    help: 'run a command in a container',
    details: [
      'With -it: a shell, as if it were here. When this command ends first, what it started in the container is killed.',
      'Exit code: that of the command; 126 when it cannot be executed, 127 when it is not found, 125 for every other failure.',
    ],
    flags: ['namespace', 'container', 'stdin', 'tty'],
    run: async (invocation) => (await import('./exec.ts')).exec(invocation),
  },
  attach: {
    usage: 'attach [-i] [-t] POD',
    help: "a running container's own output and, with -i, its input",
    details: [
      'Ends with the container; when this command ends first the container goes on.',
      'With -it every key goes to the container, Ctrl-C too: close the terminal to leave.',
    ],
    flags: ['namespace', 'container', 'stdin', 'tty'],
    run: async (invocation) => (await import('./attach.ts')).attach(invocation),
  },
  'port-forward': {
    usage: 'port-forward POD [LOCAL:]REMOTE…',
    help: 'ports of a pod on this machine',
    details: ['REMOTE is a number or the name of a container port; ":REMOTE" takes a local port that is free. Ctrl-C ends it (0).'],
    flags: ['namespace', 'address'],
    run: async (invocation) => (await import('./port-forward.ts')).portForward(invocation),
  },
  explain: {
    usage: 'explain POD[/CONTAINER] start',
    help: 'the system calls that make a container, in words',
    details: ['With --dry-run FILE: what a start of that manifest would do on this machine. Nothing is started, no root is needed.'],
    flags: ['namespace', 'container', 'output', 'dry-run'],
    run: async (invocation, runtime) => (await import('./explain.ts')).explain(invocation, runtime),
  },
  image: {
    usage: 'image ls|pull|push|…',
    help: 'images on this machine',
    details: [
      'image ls                               what is there',
      'image pull REFERENCE                   from its registry; "nginx" means docker.io/library/nginx:latest',
      'image push REFERENCE [TARGET]          to a registry; TARGET is another name there',
      'image inspect REFERENCE                config and layers as JSON',
      'image history REFERENCE                how it was made, newest step first',
      'image tag REFERENCE NAME               a further name',
      'image rm REFERENCE…                    the name, and with its last name the image; by id: the image',
      'image prune [-a]                       what has no tag, with -a all that no container uses',
      'image import PATH                      an OCI layout (folder or tar) or a `docker save` archive',
      'image export REFERENCE… FILE           an OCI layout as tar, which `docker load` and `podman load` read too',
      "image build-host NAME --bin PATH…      this machine's programs and their libraries as localhost/NAME:host",
      'Works without a running tskubelet too. Running containers keep what they use, whatever is removed.',
      'Progress goes to standard error: bars on a terminal, lines otherwise. Standard output has the result alone.',
    ],
    flags: ['output', 'all', 'creds', 'bin'],
    run: async (invocation, runtime) => (await import('./image.ts')).image(invocation, runtime),
  },
  cni: {
    usage: 'cni [TYPE] | cni install DIR',
    help: "our network plugins as executables for other runtimes: CNI's protocol by environment and stdin",
    details: [
      'cni TYPE         one call of a plugin; without TYPE, of the type that the configuration on stdin names',
      'cni install DIR  links DIR/bridge, DIR/host-local, … to this program: called by such a name, it is that plugin',
    ],
    flags: [],
    run: async (invocation, runtime) => (await import('./cni.ts')).cni(invocation, runtime),
  },
  doctor: {
    usage: 'doctor',
    help: 'what this machine offers, and what follows',
    details: ['Exit code 1 when something is missing that tskubelet cannot do without.'],
    flags: ['output'],
    run: async (invocation) => (await import('./doctor.ts')).doctor(invocation),
  },
  version: {
    usage: 'version',
    help: 'print the version',
    flags: [],
    run: async () => print(`tskubelet ${VERSION} (node ${process.version}, ${process.arch})\n`),
  },
};

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

function renderHelp(): string {
  const lines = Object.values(COMMANDS).map(({ usage, help }) => `  tskubelet ${usage.padEnd(45)} ${help}`);
  return [
    'tskubelet: a Kubernetes node agent and container runtime in one process.',
    '',
    `  tskubelet ${'--manifests PATH'.padEnd(45)} run the pods of a folder on this machine`,
    ...lines,
    '',
    "'tskubelet COMMAND --help' tells more about one. Flags may stand before or after the command.",
    '',
    'Flags of the node; the ones that say where things are serve the commands too:',
    ...Object.entries(NODE_FLAGS).map(([name, flag]) => renderFlag(name, flag)),
    '',
  ].join('\n');
}

function renderCommandHelp({ usage, help, details = [], flags }: Command): string {
  return [
    `usage: tskubelet ${usage}`,
    '',
    `${help.slice(0, 1).toUpperCase()}${help.slice(1)}.`,
    ...details,
    '',
    ...flags.map((name) => renderFlag(name, COMMAND_FLAGS[name])),
    ...(['root-dir', 'run-dir', 'log-dir'] as const).map((name) => renderFlag(name, NODE_FLAGS[name])),
    '',
  ].join('\n');
}

/** A flag of another command is refused: it would change nothing, and its user believes that it does. */
function checkFlags(name: string, command: Command, flags: Invocation['flags']): void {
  const foreign = Object.keys(flags).filter((flag) => flag in COMMAND_FLAGS && !command.flags.includes(flag as CommandFlag));
  if (foreign.length > 0) throw usageError(`${name} has no --${foreign[0]}; 'tskubelet ${name} --help' lists its flags`);
  if (flags.manifests !== undefined) throw usageError(`--manifests runs a node and takes no command: leave out "${name}" or the flag`);
}

/** The daemons tell what of the file they do not act on; a command on the same node has said nothing new. */
async function applyConfig(flags: Invocation['flags'], { tell }: { tell: boolean }): Promise<Invocation['flags']> {
  if (flags.config === undefined) return flags;
  const { withConfig } = await import('./config-file.ts');
  return withConfig(flags, (sentence) => tell && process.stderr.write(`tskubelet: ${sentence}\n`));
}

export async function runCommand(argv: readonly string[], runtime: RuntimeHalf): Promise<number> {
  const invocation = parseArgv(argv);
  const { help, version, ...flags } = invocation.flags;
  const [first, ...following] = invocation.words;
  // `help logs` is `logs --help`.
  const asked = help === true || first === 'help';
  const [name, ...words] = first === 'help' ? following : invocation.words;
  if (version) return print(`tskubelet ${VERSION}\n`);
  const command = name === undefined ? undefined : Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (name !== undefined && command === undefined) throw usageError(`unknown command "${name}"; 'tskubelet --help' lists the commands`);
  if (asked) return print(command === undefined ? renderHelp() : renderCommandHelp(command));
  if (name === undefined || command === undefined) {
    if (flags.manifests === undefined && flags.config === undefined)
      throw usageError("nothing to do: give --manifests PATH or a command; 'tskubelet --help' lists them");
    const foreign = Object.keys(flags).find((flag) => flag in COMMAND_FLAGS);
    if (foreign !== undefined) throw usageError(`--${foreign} belongs to a command, and there is none`);
    if (invocation.rest !== undefined) throw usageError('"--" is only for the command of exec');
    return (await import('./daemon.ts')).runNode({ ...invocation, flags: await applyConfig(flags, { tell: true }) }, runtime);
  }
  checkFlags(name, command, flags);
  if (invocation.rest !== undefined && name !== 'exec') throw usageError(`${name} takes no "--": that is for the command of exec`);
  return command.run({ flags: await applyConfig(flags, { tell: name === 'runtime' }), words, rest: invocation.rest }, runtime);
}
