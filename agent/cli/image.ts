// Owns `image`: what is there, and how it comes and goes.
import fs from 'node:fs';
import path from 'node:path';
import type { ImageRow, Images, TransferOptions } from '../../cri-proto/images.ts';
import { CommandError, usageError } from '../error.ts';
import type { CommandFlag, Flags, Invocation } from './flags.ts';
import type { Help } from './help.ts';
import { readHistory, renderHistory } from './image-history.ts';
import { openImages } from './images.ts';
import { suggest } from './nearest.ts';
import { openProgress, type ProgressView } from './progress.ts';
import type { RuntimeHalf } from './runtime-half.ts';
import { renderSize, renderTable } from './table.ts';

interface Verb {
  readonly usage: string;
  readonly help: string;
  readonly details?: readonly string[];
  /** What -o may be, beside nothing. */
  readonly outputs?: readonly string[];
  readonly flags?: readonly ('all' | 'creds' | 'bin')[];
  /** Gives what standard output says. */
  run(images: Images, words: readonly string[], flags: Flags): Promise<string>;
}

const VERBS: Readonly<Record<string, Verb>> = {
  ls: {
    usage: 'ls',
    help: 'list what is there',
    outputs: ['wide', 'json'],
    run: async (images, words, flags) => {
      take('ls', words, 0, 0);
      return renderImages(await images.list(), flags);
    },
  },
  pull: {
    usage: 'pull REFERENCE',
    help: 'get an image from its registry',
    details: ['"nginx" means docker.io/library/nginx:latest.'],
    flags: ['creds'],
    run: async (images, words, flags) => {
      const [reference = ''] = take('pull', words, 1, 1);
      const credentials = await readCredentials(flags);
      return withProgress(
        `pulling ${reference}`,
        async (onProgress) => `${await images.pull(reference, { ...credentials, onProgress })}\n`,
      );
    },
  },
  push: {
    usage: 'push REFERENCE [TARGET]',
    help: 'send an image to a registry; TARGET is another name there',
    details: ['Prints the name by which it can be pulled, digest included.'],
    outputs: ['json'],
    flags: ['creds'],
    run: async (images, words, flags) => {
      const [reference = '', target = reference] = take('push', words, 1, 2);
      await find(images, reference);
      const credentials = await readCredentials(flags);
      return withProgress(`pushing ${target}`, async (onProgress) => {
        const pushed = await images.push(reference, target, { ...credentials, onProgress });
        if (flags.output === 'json') return json(pushed);
        return `${pushed.reference.replace(/:[^:/]*$/, '')}@${pushed.digest}\n`;
      });
    },
  },
  inspect: {
    usage: 'inspect REFERENCE',
    help: 'print config and layers as JSON',
    outputs: ['json'],
    run: async (images, words) => {
      const [reference = ''] = take('inspect', words, 1, 1);
      const { image, details } = await find(images, reference);
      return json({ ...image, ...(details as object) });
    },
  },
  history: {
    usage: 'history REFERENCE',
    help: 'tell how it was made, newest step first',
    details: ['-o wide shows the steps in full.'],
    outputs: ['wide', 'json'],
    run: async (images, words, flags) => {
      const [reference = ''] = take('history', words, 1, 1);
      const { details } = await find(images, reference);
      return renderHistory(readHistory(details), flags.output);
    },
  },
  tag: {
    usage: 'tag REFERENCE NAME',
    help: 'give an image a further name',
    run: async (images, words) => {
      const [reference = '', name = ''] = take('tag', words, 2, 2);
      await find(images, reference);
      return `${await images.tag(reference, name)}\n`;
    },
  },
  rm: {
    usage: 'rm REFERENCE…',
    help: 'remove the name, and with its last name the image; by id: the image',
    details: ['Running containers keep what they use.'],
    run: async (images, words) => {
      for (const reference of take('rm', words, 1)) {
        await find(images, reference);
        await images.untag(reference);
      }
      return '';
    },
  },
  prune: {
    usage: 'prune [-a]',
    help: 'remove what has no tag, with -a all that no container uses',
    outputs: ['json'],
    flags: ['all'],
    run: async (images, words, flags) => {
      take('prune', words, 0, 0);
      const pruned = await images.prune(flags.all ?? false);
      if (flags.output === 'json') return json(pruned);
      process.stderr.write(
        `${pruned.images.length} ${pruned.images.length === 1 ? 'image' : 'images'} removed, ${renderSize(pruned.freedBytes)} freed\n`,
      );
      return pruned.images.map(({ id, references }) => `${references[0] ?? id}\n`).join('');
    },
  },
  import: {
    usage: 'import PATH',
    help: 'take in an OCI layout (folder or tar) or a `docker save` archive',
    run: async (images, words) => {
      const [word = ''] = take('import', words, 1, 1);
      const file = path.resolve(word);
      if (!fs.existsSync(file)) throw new CommandError(`${file} does not exist`);
      return (await images.import(file)).map((reference) => `${reference}\n`).join('');
    },
  },
  export: {
    usage: 'export REFERENCE… FILE',
    help: 'write an OCI layout as tar, which `docker load` and `podman load` read too',
    run: async (images, words) => {
      const all = take('export', words, 2);
      const references = all.slice(0, -1);
      const file = path.resolve(all.at(-1) ?? '');
      if (fs.statSync(file, { throwIfNoEntry: false })?.isDirectory())
        throw new CommandError(`${file} is a directory: name the file to be made`);
      if (!fs.existsSync(path.dirname(file))) throw new CommandError(`${path.dirname(file)} does not exist`);
      const ids: string[] = [];
      for (const reference of references) ids.push((await find(images, reference)).image.id);
      const exported = await images.export(references, file);
      for (const [index, id] of exported.entries())
        if (id !== ids[index]) process.stderr.write(`${references[index]}: its layers were packed anew, so its id in the file is ${id}\n`);
      return exported.map((id) => `${id}\n`).join('');
    },
  },
  'build-host': {
    usage: 'build-host NAME --bin PATH…',
    help: "make an image of this machine's programs and their libraries as localhost/NAME:host",
    flags: ['bin'],
    run: async (images, words, flags) => {
      const [name = ''] = take('build-host', words, 1, 1);
      if (flags.bin === undefined) throw usageOf('build-host');
      return `${await images.buildHost(
        name,
        flags.bin.map((file) => path.resolve(file)),
      )}\n`;
    },
  },
};

/** What docker, podman, crictl and ctr say for them. */
const ALIASES: Readonly<Record<string, string>> = { list: 'ls', remove: 'rm', rmi: 'rm', delete: 'rm', save: 'export', load: 'import' };

function findVerb(word: string): { readonly name: string; readonly verb: Verb } {
  const name = Object.hasOwn(ALIASES, word) ? (ALIASES[word] ?? word) : word;
  const verb = Object.hasOwn(VERBS, name) ? VERBS[name] : undefined;
  if (verb !== undefined) return { name, verb };
  const what = word === '' ? 'what' : word;
  throw usageError(`image ${what}?${suggest(word, Object.keys(VERBS))} usage: tskubelet image ${Object.keys(VERBS).join('|')}`);
}

/** One line for each verb, for `image --help`. */
export function verbLines(): readonly string[] {
  return Object.values(VERBS).map(({ usage, help }) => `image ${usage}`.padEnd(39) + help);
}

/** What `image VERB --help` says. */
export function verbHelp(word: string): Help {
  const { verb } = findVerb(word);
  const { usage, help, details = [], outputs = [], flags = [] } = verb;
  const formats = outputs.length === 0 ? [] : [`-o ${outputs.join(' and -o ')} ${outputs.length === 1 ? 'is' : 'are'} served.`];
  const own: readonly CommandFlag[] = [...(outputs.length === 0 ? [] : (['output'] as const)), ...flags];
  return { usage: `image ${usage}`, help, details: [...details, ...formats], flags: own };
}

const usageOf = (verb: string) => usageError(`usage: tskubelet image ${VERBS[verb]?.usage}`);

function take(verb: string, words: readonly string[], min: number, max = Number.POSITIVE_INFINITY): readonly string[] {
  if (words.length < min || words.length > max) throw usageOf(verb);
  return words;
}

async function find(images: Images, reference: string) {
  const found = await images.inspect(reference);
  if (found !== undefined) return found;
  throw new CommandError(`there is no image "${reference}" here; 'tskubelet image ls' lists what is, 'tskubelet image pull' gets it`);
}

const json = (value: unknown) =>
  `${JSON.stringify(value, (_, field: unknown) => (typeof field === 'bigint' ? Number(field) : field), 2)}\n`;

/** The view opens with the first progress: what is here already takes no time to show. */
async function withProgress<T>(
  title: string,
  transfer: (onProgress: NonNullable<TransferOptions['onProgress']>) => Promise<T>,
): Promise<T> {
  let view: ProgressView | undefined;
  try {
    return await transfer((layers) => {
      view ??= openProgress(title, process.stderr);
      view.update(layers);
    });
  } finally {
    view?.end();
  }
}

async function readCredentials({ creds }: Flags): Promise<Pick<TransferOptions, 'credentials'>> {
  if (creds === undefined) return {};
  const colon = creds.indexOf(':');
  if (colon > 0) return { credentials: { username: creds.slice(0, colon), password: creds.slice(colon + 1) } };
  if (creds === '' || colon === 0) throw usageError(`--creds ${creds}: expected USER or USER:PASSWORD`);
  if (process.stdin.isTTY)
    throw usageError('--creds without a password reads it from standard input: pipe it in, a terminal would show it');
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return {
    credentials: {
      username: creds,
      password: Buffer.concat(chunks)
        .toString('utf8')
        .replace(/\r?\n$/, ''),
    },
  };
}

export async function image({ flags, words }: Invocation, runtime: RuntimeHalf): Promise<number> {
  const [word = '', ...rest] = words;
  const { name, verb } = findVerb(word);
  for (const flag of ['all', 'creds', 'bin'] as const) {
    if (flags[flag] === undefined || verb.flags?.includes(flag)) continue;
    const others = Object.keys(VERBS).filter((other) => VERBS[other]?.flags?.includes(flag));
    throw usageError(`image ${name} has no --${flag}; ${others.join(' and ')} ${others.length === 1 ? 'has' : 'have'}`);
  }
  const { output } = flags;
  if (output !== undefined && !verb.outputs?.includes(output))
    throw usageError(`-o ${output}: image ${name} has ${verb.outputs === undefined ? 'no -o' : verb.outputs.join(' and ')}`);
  const images = await openImages(flags, runtime);
  try {
    process.stdout.write(await verb.run(images, rest, flags));
    return 0;
  } finally {
    await images.close();
  }
}

const ID_DIGITS = 12;

export function renderImages(images: readonly ImageRow[], { output }: Flags): string {
  if (output === 'json') return json(images);
  const rows = images.flatMap((row) => {
    const id = row.id.replace(/^sha256:/, '');
    const names = row.repoTags.length > 0 ? row.repoTags.map(splitTag) : [splitDigest(row.repoDigests[0])];
    const size = renderSize(row.size);
    return names.map(([name, tag]) => [name, tag, output === 'wide' ? id : id.slice(0, ID_DIGITS), size]);
  });
  return renderTable(
    ['IMAGE', 'TAG', 'IMAGE ID', 'SIZE'],
    rows.sort((a, b) => (a.join() < b.join() ? -1 : 1)),
  );
}

/** The tag is what follows the last colon, unless that one belongs to the registry's port. */
function splitTag(reference: string): readonly [string, string] {
  const colon = reference.lastIndexOf(':');
  return colon > reference.lastIndexOf('/') ? [reference.slice(0, colon), reference.slice(colon + 1)] : [reference, '<none>'];
}

function splitDigest(reference: string | undefined): readonly [string, string] {
  return [reference?.split('@')[0] ?? '<none>', '<none>'];
}
