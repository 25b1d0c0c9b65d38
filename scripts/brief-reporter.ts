// A reporter for node --test (https://nodejs.org/api/test.html#custom-reporters): only what failed or was skipped, and the counts.
import path from 'node:path';
import { createReport, type TestEvent } from './test-report.ts';

export default async function* briefReporter(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  let text = '';
  const report = createReport(path.resolve(import.meta.dirname, '..'), {
    write: (chunk) => {
      text += chunk;
    },
  });
  for await (const event of events) report.event(event);
  report.finish();
  yield text;
}
