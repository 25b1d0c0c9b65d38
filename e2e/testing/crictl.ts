// Owns calling the real crictl on a test node, with a config file so that it neither guesses endpoints nor warns; and such a node for a
// whole test file.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, afterEach, before } from 'node:test';
import { ensurePeer } from '../peers/build.ts';
import { type CommandOptions, type Outcome, run } from './command.ts';
import { BUSYBOX } from './cri.ts';
import { poll } from './poll.ts';
import { TestNode } from './test-node.ts';

export interface Running {
  readonly sandbox: string;
  readonly container: string;
}

export class Crictl {
  readonly program: string;
  readonly node: TestNode;
  readonly #config: string;

  constructor(program: string, node: TestNode) {
    this.program = program;
    this.node = node;
    this.#config = path.join(node.dir, 'crictl.yaml');
    const endpoint = `unix://${node.socket}`;
    fs.writeFileSync(
      this.#config,
      `runtime-endpoint: ${endpoint}\nimage-endpoint: ${endpoint}\ntimeout: 30\npull-image-on-create: false\n`,
    );
  }

  /** Its whole command line, for tests that spawn it themselves. */
  commandLine(args: readonly string[]): [string, ...string[]] {
    return [this.program, '--config', this.#config, ...args];
  }

  /** Runs it to its end, whatever its exit code. */
  try(args: readonly string[], options?: CommandOptions): Promise<Outcome> {
    const [command, ...all] = this.commandLine(args);
    return run(command, all, options);
  }

  /** Its whole command line in the node's network namespace: streaming URLs are on the node's own loopback. */
  inside(args: readonly string[]): [string, string[]] {
    return this.node.inside(this.commandLine(args));
  }

  /** The same as try, inside. */
  tryInside(args: readonly string[], options?: CommandOptions): Promise<Outcome> {
    const [command, all] = this.inside(args);
    return run(command, all, options);
  }

  /** Runs it to success; gives its standard output without the last newline. */
  async call(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.try(args);
    if (code !== 0) throw new Error(`crictl ${args.join(' ')} ended with ${code}: ${stderr || stdout}`);
    return stdout.replace(/\n$/, '');
  }

  async json<T>(...args: readonly string[]): Promise<T> {
    return JSON.parse(await this.call(...args)) as T;
  }

  /** Runs it to failure; gives the sentence of its last line, which is a log line of Go's. */
  async refusal(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.try(args);
    if (code === 0) throw new Error(`crictl ${args.join(' ')} succeeded: ${stdout}`);
    return (/level=fatal msg="(.*)"\n$/.exec(stderr)?.[1] ?? stderr).replaceAll('\\"', '"');
  }

  /** Writes a config file, as users write them: CRI's field names in snake case. */
  config(name: string, value: object): string {
    const file = path.join(this.node.dir, `${name}.json`);
    fs.writeFileSync(file, JSON.stringify(value));
    return file;
  }

  /** Config files of a pod and its container, with the labels by which crictl names the pod of a container. */
  configs(name: string, container: object): [sandbox: string, container: string] {
    const labels = { 'io.kubernetes.pod.name': name, 'io.kubernetes.pod.namespace': 'shop', 'io.kubernetes.pod.uid': name };
    const metadata = { name, namespace: 'shop', uid: name, attempt: 1 };
    const pod = { metadata, hostname: name, log_directory: path.join(this.node.logDir, name), labels: { ...labels, app: name } };
    const main = { metadata: { name: 'main', attempt: 2 }, image: { image: BUSYBOX }, log_path: 'main/2.log', labels, ...container };
    return [this.config(`${name}-pod`, pod), this.config(`${name}-main`, main)];
  }

  /** runp, create, start. */
  async startPod(name: string, container: object): Promise<Running> {
    const [podFile, containerFile] = this.configs(name, container);
    const sandbox = await this.call('runp', podFile);
    const id = await this.call('create', sandbox, containerFile, podFile);
    await this.call('start', id);
    return { sandbox, container: id };
  }

  /** Whether a process in the container runs this command. */
  async isRunning(container: string, command: string): Promise<boolean> {
    return (await this.call('exec', '-s', container, 'ps', '-o', 'args')).split('\n').some((line) => line.includes(command));
  }

  /** Runs `use` while crictl forwards a local port as `args` say; `output` is what crictl has printed so far. */
  async withForward(args: readonly string[], use: (localPort: string, output: () => string) => Promise<void>): Promise<void> {
    const [command, all] = this.inside(['port-forward', ...args]);
    const client = spawn(command, all, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [client.stdout, client.stderr])
      stream.on('data', (chunk: Buffer) => {
        output += chunk;
      });
    try {
      const port = await poll('the local port', () => /Forwarding from 127\.0\.0\.1:(\d+)/.exec(output)?.[1]);
      await use(port, () => output);
    } finally {
      client.kill('SIGKILL');
    }
  }
}

export interface CrictlTests {
  /** Of every test of the file. */
  readonly options: { readonly timeout: number; readonly skip: string | false };
}

/**
 * One node with the runtime alone for all tests of the calling file. `ready` is given both before the first test; the pods of a test are
 * removed after it, or with `keepPods` after the last one.
 */
export async function crictlTests(
  ready: (crictl: Crictl, node: TestNode) => unknown,
  { keepPods = false }: { readonly keepPods?: boolean } = {},
): Promise<CrictlTests> {
  const peer = await ensurePeer('crictl');
  let node: TestNode | undefined;
  let crictl: Crictl | undefined;
  before(async () => {
    if ('missing' in peer) return;
    node = await TestNode.create();
    await node.start('runtime');
    crictl = new Crictl(peer.path, node);
    await crictl.call('pull', BUSYBOX);
    await ready(crictl, node);
  });
  if (!keepPods)
    afterEach(async () => {
      await crictl?.call('rmp', '--all', '--force');
    });
  after(async () => {
    await node?.destroy();
  });
  return { options: { timeout: 90_000, skip: 'missing' in peer && peer.missing } };
}

export const shell = (script: string) => ({ command: ['sh', '-c', script] });
