// Turns node:test events into what a person reads: a line per file, at the end the failures, the skipped tests with their reasons, and
// the runner's usual counts.
import path from 'node:path';
import { inspect } from 'node:util';

/** The fields of node:test's events that are used here (https://nodejs.org/api/test.html#class-testsstream). */
interface TestData {
  readonly name: string;
  readonly nesting: number;
  readonly file?: string;
  readonly line?: number;
  readonly skip?: string | boolean;
  readonly todo?: string | boolean;
  readonly details: { readonly duration_ms: number; readonly type?: string; readonly error?: Error };
}

interface Counts {
  tests: number;
  suites: number;
  passed: number;
  failed: number;
  cancelled: number;
  skipped: number;
  todo: number;
}

export type TestEvent =
  | { readonly type: 'test:pass' | 'test:fail'; readonly data: TestData }
  | { readonly type: 'test:diagnostic'; readonly data: { readonly message: string; readonly nesting: number; readonly file?: string } }
  | { readonly type: 'test:stdout' | 'test:stderr'; readonly data: { readonly file: string; readonly message: string } }
  | {
      readonly type: 'test:summary';
      readonly data: { readonly file?: string; readonly counts: Counts; readonly duration_ms: number; readonly success: boolean };
    };

export interface Report {
  start(kind: string, files: number): void;
  event(event: TestEvent): void;
  /** Prints the end; true when nothing failed. */
  finish(): boolean;
}

/** Of a file with a failure: daemons and suites of others say a lot before what matters. */
const OUTPUT_LINES = 1000;

export function createReport(root: string, out: { write(text: string): unknown }): Report {
  const total: Counts = { tests: 0, suites: 0, passed: 0, failed: 0, cancelled: 0, skipped: 0, todo: 0 };
  const failures: { readonly file: string; readonly data: TestData }[] = [];
  const skips = new Map<string, string[]>();
  const notes = new Map<string, string[]>();
  const output = new Map<string, string>();
  const started = performance.now();
  let success = true;

  const relative = (file: string | undefined) => (file === undefined ? '' : path.relative(root, file));
  const append = (map: Map<string, string[]>, key: string, text: string) => map.set(key, [...(map.get(key) ?? []), text]);

  const finishFile = (file: string, counts: Counts, durationMs: number) => {
    const failed = counts.failed + counts.cancelled;
    const words = [
      `${counts.tests} tests`,
      ...(failed > 0 ? [`${failed} FAILED`] : []),
      ...(counts.skipped > 0 ? [`${counts.skipped} skipped`] : []),
    ];
    out.write(`${failed > 0 ? '✖' : '✔'} ${relative(file)} (${words.join(', ')}, ${(durationMs / 1000).toFixed(1)} s)\n`);
    for (const note of notes.get(file) ?? []) out.write(`    ${note}\n`);
  };

  const printFailure = ({ file, data }: { readonly file: string; readonly data: TestData }) => {
    out.write(`\n✖ ${data.name}\n  ${relative(file)}${data.line === undefined ? '' : `:${data.line}`}\n`);
    // The runner wraps what the test threw.
    const error = data.details.error?.cause ?? data.details.error;
    out.write(`${inspect(error, { depth: 5 }).replace(/^/gm, '    ')}\n`);
  };

  return {
    start(kind, files) {
      out.write(`\n${kind} (${files} ${files === 1 ? 'file' : 'files'})\n`);
    },
    event(event) {
      if (event.type === 'test:fail') {
        // A suite fails with its tests, which are listed already.
        if (event.data.todo === undefined && event.data.details.type !== 'suite')
          failures.push({ file: event.data.file ?? '', data: event.data });
      } else if (event.type === 'test:pass') {
        if (event.data.skip !== undefined && event.data.skip !== false)
          append(
            skips,
            typeof event.data.skip === 'string' && event.data.skip !== '' ? event.data.skip : 'no reason given',
            `${relative(event.data.file)}: ${event.data.name}`,
          );
      } else if (event.type === 'test:diagnostic') {
        // The runner's own closing lines have no file.
        if (
          event.data.file !== undefined &&
          !/^(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) [\d.]+$/.test(event.data.message)
        )
          append(notes, event.data.file, event.data.message);
      } else if (event.type === 'test:stdout' || event.type === 'test:stderr') {
        output.set(event.data.file, (output.get(event.data.file) ?? '') + event.data.message);
      } else if (event.type === 'test:summary') {
        if (event.data.file !== undefined) return finishFile(event.data.file, event.data.counts, event.data.duration_ms);
        for (const key of Object.keys(total) as (keyof Counts)[]) total[key] += event.data.counts[key];
        success &&= event.data.success;
      }
    },
    finish() {
      if (failures.length > 0) {
        out.write('\nfailed:\n');
        failures.forEach(printFailure);
        for (const file of new Set(failures.map((failure) => failure.file))) {
          const lines = output.get(file)?.trimEnd().split('\n').slice(-OUTPUT_LINES) ?? [];
          if (lines.length > 0) out.write(`\noutput of ${relative(file)}:\n${lines.join('\n').replace(/^/gm, '    ')}\n`);
        }
      }
      if (skips.size > 0) out.write('\nskipped:\n');
      for (const [reason, names] of skips) out.write(`  ${reason}\n${names.map((name) => `    ${name}\n`).join('')}`);
      out.write('\n');
      const durationMs = performance.now() - started;
      for (const [word, count] of [
        ['tests', total.tests],
        ['suites', total.suites],
        ['pass', total.passed],
        ['fail', total.failed],
        ['cancelled', total.cancelled],
        ['skipped', total.skipped],
        ['todo', total.todo],
        ['duration_ms', durationMs],
      ] as const)
        out.write(`ℹ ${word} ${count}\n`);
      return success;
    },
  };
}
