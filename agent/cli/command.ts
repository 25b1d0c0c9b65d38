// Owns which subcommand does what. Each is loaded when it is asked for: `version` does not pay for gRPC.
import { usageError } from '../error.ts';
import { VERSION } from '../version.ts';
import { type Invocation, parseArgv, renderFlags } from './flags.ts';

interface Command {
  readonly usage: string;
  readonly help: string;
  /** Resolves to the exit code. */
  run(invocation: Invocation): Promise<number>;
}

const COMMANDS: Readonly<Record<string, Command>> = {
  runtime: {
    usage: 'runtime',
    help: 'the CRI runtime alone, for crictl and a stock kubelet',
    run: async (invocation) => (await import('./daemon.ts')).runRuntime(invocation),
  },
  run: {
    usage: 'run FILE',
    help: "one manifest in the foreground: its logs here, its exit code is the command's",
    run: async (invocation) => (await import('./run.ts')).run(invocation),
  },
  get: {
    usage: 'get pods [NAME]',
    help: 'pods and their state',
    run: async (invocation) => (await import('./get.ts')).get(invocation),
  },
  logs: {
    usage: 'logs POD',
    help: "a container's output",
    run: async (invocation) => (await import('./logs.ts')).logs(invocation),
  },
  exec: {
    usage: 'exec POD -- COMMAND',
    help: 'run a command in a container',
    run: async (invocation) => (await import('./exec.ts')).exec(invocation),
  },
  explain: {
    usage: 'explain POD[/CONTAINER] start',
    help: 'the system calls that make a container, in words',
    run: async (invocation) => (await import('./explain.ts')).explain(invocation),
  },
  image: {
    usage: 'image ls|pull|import|build-host|rm',
    help: 'images on this machine',
    run: async (invocation) => (await import('./image.ts')).image(invocation),
  },
  doctor: {
    usage: 'doctor',
    help: 'what this machine offers, and what follows',
    run: async (invocation) => (await import('./doctor.ts')).doctor(invocation),
  },
  version: {
    usage: 'version',
    help: 'print the version',
    run: async () => print(`tskubelet ${VERSION} (node ${process.version}, ${process.arch})\n`),
  },
};

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

function renderHelp(): string {
  const lines = Object.values(COMMANDS).map(({ usage, help }) => `  tskubelet ${usage.padEnd(32)} ${help}`);
  return [
    'tskubelet: a Kubernetes node agent and container runtime in one process.',
    '',
    `  tskubelet ${'--manifests PATH'.padEnd(32)} run the pods of a folder on this machine`,
    ...lines,
    '',
    renderFlags(),
    '',
  ].join('\n');
}

export async function runCommand(argv: readonly string[]): Promise<number> {
  const invocation = parseArgv(argv);
  const [name, ...words] = invocation.words;
  if (invocation.flags.version) return print(`tskubelet ${VERSION}\n`);
  if (invocation.flags.help || name === 'help') return print(renderHelp());
  if (name === undefined) {
    if (invocation.flags.manifests === undefined && invocation.flags.config === undefined)
      throw usageError("nothing to do: give --manifests PATH or a command; 'tskubelet --help' lists them");
    return (await import('./daemon.ts')).runNode(invocation);
  }
  const command = COMMANDS[name];
  if (command === undefined) throw usageError(`unknown command "${name}"; 'tskubelet --help' lists the commands`);
  return command.run({ ...invocation, words });
}
