// Owns calling the real crictl on a test node, with a config file so that it neither guesses endpoints nor warns.
import fs from 'node:fs';
import path from 'node:path';
import { type CommandOptions, type Outcome, run } from './command.ts';
import type { TestNode } from './test-node.ts';

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

  /** Runs it to failure; gives the error as crictl shows it. */
  async refusal(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.try(args);
    if (code === 0) throw new Error(`crictl ${args.join(' ')} succeeded: ${stdout}`);
    return stderr;
  }

  /** Writes a config file, as users write them: CRI's field names in snake case. */
  config(name: string, value: object): string {
    const file = path.join(this.node.dir, `${name}.json`);
    fs.writeFileSync(file, JSON.stringify(value));
    return file;
  }
}
