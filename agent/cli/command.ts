// Owns which subcommand does what. Each is loaded when it is asked for: `version` does not pay for gRPC.
import { usageError } from '../error.ts';
import { VERSION } from '../version.ts';
import { COMMAND_FLAGS, type CommandFlag, type Invocation, NODE_FLAGS, parseArgv, renderFlag } from './flags.ts';
import { type Help, renderCommandHelp } from './help.ts';
import { suggest } from './nearest.ts';
import type { RuntimeHalf } from './runtime-half.ts';

interface Command extends Help {
  /** Of a command of several verbs: a line for each, and the help of one, which throws for a word that is none. */
  verbs?(): Promise<{ verbLines(): readonly string[]; verbHelp(word: string): Help }>;
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
    usage: 'explain POD[/CONTAINER] start|net',
    help: 'the system calls that make a container, or its way to the world, in words',
    details: [
      'explain --dry-run FILE start: what a start of that manifest would do on this machine. Nothing is started, no root is needed.',
    ],
    flags: ['namespace', 'container', 'output', 'dry-run'],
    run: async (invocation, runtime) => (await import('./explain.ts')).explain(invocation, runtime),
  },
  image: {
    usage: 'image ls|pull|push|…',
    help: 'images on this machine',
    details: [
      'Works without a running tskubelet too. Running containers keep what they use, whatever is removed.',
      'Progress goes to standard error: bars on a terminal, lines otherwise. Standard output has the result alone.',
    ],
    flags: ['output', 'all', 'creds', 'bin'],
    verbs: () => import('./image.ts'),
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

/** With a verb: of that one alone. */
async function helpOf(command: Command, verb: string | undefined): Promise<Help> {
  const verbs = await command.verbs?.();
  if (verbs === undefined) return command;
  return verb === undefined ? { ...command, details: [...verbs.verbLines(), ...(command.details ?? [])] } : verbs.verbHelp(verb);
}

/** Words that people bring from kubectl, docker and crictl, and where here is what they do. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  ...{ apply: 'files', create: 'files', delete: 'files', rm: 'files', stop: 'files', start: '--manifests PATH' },
  ...{ ps: 'get pods', pods: 'get pods', inspect: 'describe pod', inspectp: 'describe pod' },
  ...{ images: 'image ls', pull: 'image pull', push: 'image push', rmi: 'image rm', load: 'image import', save: 'image export' },
};

function unknownCommand(name: string): Error {
  const list = "'tskubelet --help' lists the commands";
  const place = Object.hasOwn(ELSEWHERE, name) ? ELSEWHERE[name] : undefined;
  if (place === 'files')
    return usageError(
      `there is no command "${name}": add, change or remove a file in the folder of --manifests, and its pods follow; ${list}`,
    );
  if (place !== undefined) return usageError(`there is no command "${name}": it is 'tskubelet ${place}' here; ${list}`);
  return usageError(`unknown command "${name}"${suggest(name, Object.keys(COMMANDS))}; ${list}`);
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
  if (name !== undefined && command === undefined) throw unknownCommand(name);
  if (asked) return print(command === undefined ? renderHelp() : renderCommandHelp(await helpOf(command, words[0])));
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
