// inotify on directories that may be absent, replaced or swapped by a symbolic link.
import fs from 'node:fs';

interface Watch {
  readonly watcher: fs.FSWatcher;
  /** Of the directory that is watched, which its path may no longer name. */
  readonly identity: string;
}

/** name: undefined when anything may have happened. contentOnly: no entry came or went. */
export type OnDirectoryEvent = (directory: string, name: string | undefined, contentOnly: boolean) => void;

export class DirectoryWatch {
  private readonly onEvent: OnDirectoryEvent;
  private readonly watches = new Map<string, Watch>();

  constructor(onEvent: OnDirectoryEvent) {
    this.onEvent = onEvent;
  }

  /** Watches exactly these directories. False when one cannot be watched, so that it must be polled. */
  follow(directories: ReadonlySet<string>): boolean {
    for (const directory of [...this.watches.keys()]) if (!directories.has(directory)) this.drop(directory);
    let complete = true;
    for (const directory of directories) if (!this.watch(directory)) complete = false;
    return complete;
  }

  private watch(directory: string): boolean {
    try {
      const identity = identityOf(directory);
      if (this.watches.get(directory)?.identity === identity) return true;
      this.drop(directory);
      const watcher = fs.watch(directory, (event, name) => this.onEvent(directory, name ?? undefined, event === 'change'));
      watcher.on('error', () => {
        this.drop(directory);
        this.onEvent(directory, undefined, false);
      });
      this.watches.set(directory, { watcher, identity });
      // What happened before the watch began is found by one more look.
      this.onEvent(directory, undefined, false);
      return true;
    } catch {
      // Absent, unreadable, or out of inotify watches: polling finds out.
      this.drop(directory);
      return false;
    }
  }

  private drop(directory: string): void {
    this.watches.get(directory)?.watcher.close();
    this.watches.delete(directory);
  }

  close(): void {
    for (const directory of [...this.watches.keys()]) this.drop(directory);
  }
}

function identityOf(directory: string): string {
  const { dev, ino } = fs.statSync(directory, { bigint: true });
  return `${dev}:${ino}`;
}
