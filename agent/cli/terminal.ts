// Owns this process' own terminal: raw while a program elsewhere has it, and back as it was however this process ends.

export interface WindowSize {
  readonly columns: number;
  readonly rows: number;
}

const SIGNALS = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1, SIGQUIT: 3 } as const;

/** Keys go on unread, Ctrl-C among them. Gives the way back, which a signal and the end of the process take too. */
export async function enterRawMode(): Promise<() => void> {
  if (!process.stdin.isTTY) return () => undefined;
  const { makeRaw } = await import('../../runtime/linux/terminal.ts');
  const restore = makeRaw(process.stdin.fd);
  const ways = Object.entries(SIGNALS).map(([name, number]) => ({
    name: name as NodeJS.Signals,
    end: () => {
      restore();
      process.exit(128 + number);
    },
  }));
  process.on('exit', restore);
  for (const { name, end } of ways) process.on(name, end);
  return () => {
    process.off('exit', restore);
    for (const { name, end } of ways) process.off(name, end);
    restore();
  };
}

/** Tells the size now and whenever it changes; nothing where no stream of ours is a terminal. Gives an end to it. */
export function watchWindowSize(tell: (size: WindowSize) => void): () => void {
  const terminal = [process.stdout, process.stderr].find(({ isTTY }) => isTTY);
  if (terminal === undefined) return () => undefined;
  const changed = () => tell({ columns: terminal.columns, rows: terminal.rows });
  terminal.on('resize', changed);
  changed();
  return () => void terminal.off('resize', changed);
}
