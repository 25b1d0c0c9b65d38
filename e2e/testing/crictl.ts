// Owns calling the real crictl on a test node, with a config file so that it neither guesses endpoints nor warns.
import fs from 'node:fs';
import path from 'node:path';
import { type CommandOptions, type Outcome, run } from './command.ts';
import { BUSYBOX } from './cri.ts';
import type { TestNode } from './test-node.ts';

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
}

export const shell = (script: string) => ({ command: ['sh', '-c', script] });
