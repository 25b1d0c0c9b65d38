// Writes tar archives for tests, wrong ones too: nothing is checked here.
import assert from 'node:assert/strict';
import { renderError } from '../../errors.ts';

export interface TestEntry {
  readonly name: string;
  readonly type?: 'file' | 'hardlink' | 'symlink' | 'character' | 'block' | 'directory' | 'fifo' | string;
  readonly content?: Buffer | string;
  readonly linkName?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly major?: number;
  readonly minor?: number;
  readonly pax?: Readonly<Record<string, Buffer | string>>;
  /** Written in the header instead of the content's. */
  readonly size?: number;
}

const flags: Readonly<Record<string, string>> = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  character: '3',
  block: '4',
  directory: '5',
  fifo: '6',
};

const uid = process.getuid?.() ?? 0;
const gid = process.getgid?.() ?? 0;

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
}

function header(entry: TestEntry, flag: string, size: number): Buffer {
  const block = Buffer.alloc(512);
  const octal = (value: number, at: number, digits: number) => block.write(`${value.toString(8).padStart(digits, '0')}\0`, at, 'latin1');
  block.write(entry.name.slice(0, 100), 0, 'latin1');
  octal(entry.mode ?? 0o644, 100, 7);
  octal(entry.uid ?? uid, 108, 7);
  octal(entry.gid ?? gid, 116, 7);
  octal(size, 124, 11);
  octal(entry.mtime ?? 0, 136, 11);
  block.write(flag, 156, 'latin1');
  block.write((entry.linkName ?? '').slice(0, 100), 157, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  octal(entry.major ?? 0, 329, 7);
  octal(entry.minor ?? 0, 337, 7);
  block.fill(' ', 148, 156);
  block.write(
    `${block
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, '0')}\0 `,
    148,
    'latin1',
  );
  return block;
}

export function encodePax(records: Readonly<Record<string, Buffer | string>>): Buffer {
  return Buffer.concat(
    Object.entries(records).map(([key, value]) => {
      const tail = Buffer.concat([Buffer.from(` ${key}=`, 'latin1'), Buffer.from(value as string, 'latin1'), Buffer.from('\n')]);
      let length = tail.length + 1;
      while (String(length).length + tail.length !== length) length = String(length).length + tail.length;
      return Buffer.concat([Buffer.from(String(length)), tail]);
    }),
  );
}

export function tar(entries: readonly TestEntry[], { end = true } = {}): Buffer {
  const blocks = entries.flatMap((entry) => {
    const content = Buffer.from((entry.content ?? '') as string, 'latin1');
    const longName = entry.name.length > 100 ? { path: entry.name } : {};
    const longLink = (entry.linkName?.length ?? 0) > 100 ? { linkpath: entry.linkName ?? '' } : {};
    const pax = encodePax({ ...longName, ...longLink, ...entry.pax });
    return [
      ...(pax.length > 0 ? [header({ name: 'pax' }, 'x', pax.length), padded(pax)] : []),
      header(entry, flags[entry.type ?? 'file'] ?? entry.type ?? '0', entry.size ?? content.length),
      padded(content),
    ];
  });
  return Buffer.concat([...blocks, Buffer.alloc(end ? 1024 : 0)]);
}

/** The whole sentence with which `action` fails, causes included. */
export function refusal(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return renderError(error);
  }
  return assert.fail('it was not refused');
}
