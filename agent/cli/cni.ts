// Owns `cni`: our network plugins as executables, and their installation where other runtimes look for them.
import fs from 'node:fs';
import path from 'node:path';
import { CommandError, usageError } from '../error.ts';
import type { Invocation } from './flags.ts';
import type { RuntimeHalf } from './runtime-half.ts';

export async function cni({ words }: Invocation, runtime: RuntimeHalf): Promise<number> {
  const [first = '', directory, ...more] = words;
  if (first === 'install') {
    if (directory === undefined || more.length > 0) throw usageError('cni install takes the directory of plugins, such as /opt/cni/bin');
    return install(path.resolve(directory), await runtime.cniTypes());
  }
  if (directory !== undefined) throw usageError(`cni takes one plugin type, and got "${words.join(' ')}"`);
  if (process.env.CNI_COMMAND === undefined)
    throw usageError(
      `cni is called by container runtimes, with CNI_COMMAND in its environment: plugins are ${(await runtime.cniTypes()).join(', ')}`,
    );
  const { exitCode, output } = await runtime.serveCni(first);
  process.stdout.write(output === '' ? '' : `${output}\n`);
  return exitCode;
}

/** The launcher as it stays: bin/tskubelet itself, whatever link it was called by. */
function program(): string {
  return fs.realpathSync(process.env.TSKUBELET_COMMAND ?? path.join(import.meta.dirname, '../../bin/tskubelet'));
}

function install(directory: string, types: readonly string[]): number {
  const target = program();
  fs.mkdirSync(directory, { recursive: true });
  const links = types.map((type) => path.join(directory, type));
  const foreign = links.find((link) => fs.existsSync(link) && fs.realpathSync(link) !== target);
  if (foreign !== undefined) throw new CommandError(`${foreign} is another plugin: move it away, or give another directory`);
  for (const link of links) {
    fs.rmSync(link, { force: true });
    fs.symlinkSync(target, link);
  }
  process.stdout.write(`${types.join(', ')} in ${directory} are ${target}\n`);
  return 0;
}
