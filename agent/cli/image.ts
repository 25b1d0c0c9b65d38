// Owns `image`: what is there, and how it comes and goes.
import fs from 'node:fs';
import path from 'node:path';
import { CommandError, usageError } from '../error.ts';
import type { Flags, Invocation } from './flags.ts';
import { openImages } from './images.ts';
import type { ImageRow, Images, RuntimeHalf } from './runtime-half.ts';
import { renderSize, renderTable } from './table.ts';

type Verb = (images: Images, words: readonly string[], flags: Flags) => Promise<string>;

const one = (words: readonly string[], verb: string, what: string): string => {
  const [word, ...more] = words;
  if (word === undefined || more.length > 0) throw usageError(`usage: tskubelet image ${verb} ${what}`);
  return word;
};

const VERBS: Readonly<Record<string, Verb>> = {
  ls: async (images, words, flags) => {
    if (words.length > 0) throw usageError('image ls takes no argument');
    return renderImages(await images.list(), flags);
  },
  pull: async (images, words) => `${await images.pull(one(words, 'pull', 'REFERENCE'))}\n`,
  inspect: async (images, words) => {
    const reference = one(words, 'inspect', 'REFERENCE');
    const found = await images.inspect(reference);
    if (found === undefined) throw absent(reference);
    const { image, details } = found;
    return `${JSON.stringify({ ...image, size: Number(image.size), ...(details as object) }, null, 2)}\n`;
  },
  rm: async (images, words) => {
    if (words.length === 0) throw usageError('usage: tskubelet image rm REFERENCE…');
    for (const reference of words) {
      if ((await images.inspect(reference)) === undefined) throw absent(reference);
      await images.remove(reference);
    }
    return '';
  },
  import: async (images, words) => {
    const file = path.resolve(one(words, 'import', 'PATH'));
    if (!fs.existsSync(file)) throw new CommandError(`${file} does not exist`);
    return (await images.import(file)).map((reference) => `${reference}\n`).join('');
  },
  'build-host': async (images, words, flags) => {
    const name = one(words, 'build-host', 'NAME --bin PATH…');
    if (flags.bin === undefined) throw usageError('usage: tskubelet image build-host NAME --bin PATH…');
    return `${await images.buildHost(
      name,
      flags.bin.map((file) => path.resolve(file)),
    )}\n`;
  },
};

const ALIASES: Readonly<Record<string, string>> = { list: 'ls', remove: 'rm' };

function absent(reference: string): CommandError {
  return new CommandError(`there is no image "${reference}" here; 'tskubelet image ls' lists what is, 'tskubelet image pull' gets it`);
}

export async function image({ flags, words }: Invocation, runtime: RuntimeHalf): Promise<number> {
  const [word = '', ...rest] = words;
  const name = ALIASES[word] ?? word;
  const verb = Object.hasOwn(VERBS, name) ? VERBS[name] : undefined;
  if (verb === undefined) throw usageError(`image ${word === '' ? 'what' : word}? usage: tskubelet image ${Object.keys(VERBS).join('|')}`);
  if (flags.bin !== undefined && name !== 'build-host') throw usageError(`image ${name} has no --bin; build-host has`);
  const images = await openImages(flags, runtime);
  try {
    process.stdout.write(await verb(images, rest, flags));
    return 0;
  } finally {
    await images.close();
  }
}

const ID_DIGITS = 12;

export function renderImages(images: readonly ImageRow[], { output }: Flags): string {
  if (output === 'json')
    return `${JSON.stringify(
      images.map((row) => ({ ...row, size: Number(row.size) })),
      null,
      2,
    )}\n`;
  if (output !== undefined && output !== 'wide') throw usageError(`-o ${output}: image ls has wide and json`);
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
