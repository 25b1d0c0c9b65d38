// Owns `run FILE`: one manifest in the foreground, on the tskubelet of this run-dir, else on one in this process for its lifetime.
import fs from 'node:fs';
import path from 'node:path';
import type { V1Pod } from '@kubernetes/client-node';
import { CommandError, usageError } from '../error.ts';
import { createLogger } from '../logger.ts';
import type { RunEvent } from '../server/run.ts';
import { request } from './agent-client.ts';
import { OWN_FAILURE } from './exit-code.ts';
import type { Invocation } from './flags.ts';
import { listens } from './listens.ts';
import type { Node } from './node.ts';
import { checkMachine } from './preflight.ts';
import { openRunOutput, type RunOutput } from './run-output.ts';
import { type Complaint, complaintsOf } from './run-status.ts';
import type { RuntimeHalf } from './runtime-half.ts';
import { type NodeSettings, readNodeSettings } from './settings.ts';
import { type StopRequests, stopRequests } from './signals.ts';

const MANIFEST_LIMIT_BYTES = 16 << 20;

export async function run({ flags, words }: Invocation, runtime: RuntimeHalf): Promise<number> {
  const [file, ...more] = words;
  if (file === undefined || more.length > 0) throw usageError('usage: tskubelet run FILE');
  if (flags['stop-pods-on-exit']) throw usageError('run always ends its pods; leave out --stop-pods-on-exit');
  // What the command tells of itself must not be mixed into the output of the pod: warnings only, unless asked.
  const settings = readNodeSettings({ 'read-only-port': '0', ...flags }, { logLevel: 'warn' });
  try {
    return await runManifest(file, settings, runtime);
  } catch (error) {
    // A failure of ours has one code, so that no exit code of a program can be taken for it.
    throw error instanceof CommandError && error.exitCode !== 1 ? error : new CommandError('', OWN_FAILURE, error);
  }
}

async function runManifest(file: string, settings: NodeSettings, runtime: RuntimeHalf): Promise<number> {
  const text = readManifest(file);
  // What happens to its own pods, `run` tells itself.
  const logger = createLogger(settings.logFormat, settings.logLevel, { events: settings.logLevel !== 'warn' });
  const stop = stopRequests(logger, 'left at once: its pods may run on');
  const node = await ensureNode(settings, runtime, logger);
  try {
    const follower = new Follower(settings, stop);
    return await follower.follow(text, path.resolve(file));
  } finally {
    await node?.stop({ stopPods: false });
  }
}

function readManifest(file: string): string {
  try {
    if (fs.statSync(file).size > MANIFEST_LIMIT_BYTES) throw new CommandError(`${file} is larger than ${MANIFEST_LIMIT_BYTES >> 20} MiB`);
    return fs.readFileSync(file, 'utf8');
  } catch (cause) {
    if (cause instanceof CommandError) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    throw new CommandError(code === 'ENOENT' ? `${file} does not exist` : `read ${file}`, 1, code === 'ENOENT' ? undefined : cause);
  }
}

/** Undefined when a daemon is there already. */
async function ensureNode(
  settings: NodeSettings,
  runtime: RuntimeHalf,
  logger: ReturnType<typeof createLogger>,
): Promise<Node | undefined> {
  if (await listens(settings.agentSocket)) return undefined;
  checkMachine();
  const { startNode } = await import('./node.ts');
  return startNode({ ...settings, manifests: [] }, runtime, logger);
}

const SIGNAL_CODES = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

/** Reads what the agent tells of the run, and gives the exit code. */
class Follower {
  readonly #settings: NodeSettings;
  readonly #stop: StopRequests;
  readonly #said = new Set<string>();
  #output: RunOutput | undefined;
  #id: string | undefined;
  /** Known once: by the end of the pods, by a signal, or by what makes waiting pointless. */
  #code: number | undefined;
  #pods = 0;
  #removing: Promise<void> | undefined;

  constructor(settings: NodeSettings, stop: StopRequests) {
    this.#settings = settings;
    this.#stop = stop;
  }

  async follow(text: string, file: string): Promise<number> {
    const response = await request(this.#settings, `/run?file=${encodeURIComponent(file)}`, { method: 'POST', body: text, timeoutMs: 0 });
    void this.#stop.first.then((name) => this.#end(SIGNAL_CODES[name], { drain: false }));
    this.#output = openRunOutput(this.#settings, (pod, container) => this.#prefix(pod, container));
    let rest = '';
    for await (const chunk of response.body) {
      const lines = (rest + String(chunk)).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line !== '') this.#take(JSON.parse(line) as RunEvent);
    }
    await this.#output.drained();
    await this.#removing;
    if (this.#code === undefined) throw new CommandError(`the tskubelet at ${this.#settings.agentSocket} ended while it ran ${file}`);
    return this.#code;
  }

  #take(event: RunEvent): void {
    switch (event.type) {
      case 'run':
        this.#id = event.id;
        return;
      case 'problem':
        this.#say(event.message);
        return;
      case 'admitted':
        this.#pods++;
        return;
      case 'status': {
        this.#output?.update(event.pod);
        for (const complaint of complaintsOf(event.pod)) this.#complain(complaint);
        return;
      }
      case 'done':
        this.#end(event.exitCode, { drain: true });
        return;
      default:
    }
  }

  /** Every pod is admitted before the first status comes. */
  #prefix({ metadata, spec }: V1Pod, container: string): string {
    if (this.#pods > 1) return `[${metadata?.name}/${container}] `;
    return (spec?.containers.length ?? 0) > 1 ? `[${container}] ` : '';
  }

  #complain({ sentence, exitCode }: Complaint): void {
    this.#say(sentence);
    if (exitCode !== undefined) this.#end(exitCode, { drain: false });
  }

  #say(sentence: string): void {
    if (this.#said.has(sentence)) return;
    this.#said.add(sentence);
    process.stderr.write(`tskubelet: ${sentence}\n`);
  }

  /**
   * The first one decides. drain: the pods have ended, so their output is shown before they and their logs go. What still runs is ended
   * by the removal, and its last words come with that.
   */
  #end(code: number, { drain }: { drain: boolean }): void {
    if (this.#code !== undefined) return;
    this.#code = code;
    this.#removing = this.#remove(drain);
  }

  async #remove(drain: boolean): Promise<void> {
    if (drain) await this.#output?.drained();
    if (this.#id === undefined) return;
    const { body } = await request(this.#settings, `/run/${this.#id}`, { method: 'DELETE', timeoutMs: 0 });
    body.resume();
  }
}
