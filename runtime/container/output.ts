// Owns which output streams a container has and where they go.
import path from 'node:path';
import type { RuntimeContext } from '../context.ts';
import { NO_LOG } from '../log/log-file.ts';
import type { OutputStream } from '../log/pump.ts';
import type { Container } from './container.ts';

/** With a terminal there is one stream: stderr is the same device. */
export function outputStreams({ paths }: RuntimeContext, { record }: Container): readonly OutputStream[] {
  const names = record.config.tty ? (['stdout'] as const) : (['stdout', 'stderr'] as const);
  return names.map((name) => ({
    containerId: record.id,
    name,
    fifoPath: path.join(paths.containerRun(record.id), name),
    logPath: record.logPath === '' ? NO_LOG : record.logPath,
  }));
}
