// Owns programs on a real terminal of their own in tests: script(1) makes the pty.
import { type ChildProcess, spawn } from 'node:child_process';

export interface OnTerminal {
  readonly child: ChildProcess;
  /** Everything on the screen so far. */
  seen(): string;
  type(text: string): void;
  /** Its exit code, after its last byte; 128 + n for a signal. */
  readonly ended: Promise<number>;
}

/** Runs it on a terminal of 31 rows and 101 columns; `before` is a shell's line on that terminal, `after` another. */
export function onTerminal(
  [command, args]: readonly [string, readonly string[]],
  { before = 'stty rows 31 cols 101', after = '' }: { readonly before?: string; readonly after?: string } = {},
): OnTerminal {
  const line = [command, ...args].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  const script = `${before}; ${line}; code=$?; ${after === '' ? '' : `${after}; `}exit $code`;
  const child = spawn('script', ['-qec', script, '/dev/null'], { stdio: ['pipe', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk;
  });
  const ended = new Promise<number>((resolve) => child.once('close', (code) => resolve(code ?? -1)));
  return { child, seen: () => output, type: (text) => child.stdin.write(text), ended };
}
