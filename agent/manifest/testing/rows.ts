// Manifests with one mistake each, and the test of what is said about it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Problem } from '../../source/source.ts';
import { parseManifest } from '../manifest.ts';

export const context = { file: '/pods/web.yaml', nodeName: 'node-1', source: 'file' } as const;

/** A pod whose lines 1-8 are fixed; `container` continues the container, `spec` the spec. */
export function manifest({ metadata = '', container = '', spec = '', image = 'image: localhost/node:host' }): string {
  return `apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
spec:
  containers:
  - name: app
    ${image}
${indent(container, 4)}${indent(spec, 2)}${metadata === '' ? '' : `# end\n`}`.replace(
    '  namespace: shop\n',
    `  namespace: shop\n${indent(metadata, 2)}`,
  );
}

function indent(text: string, columns: number): string {
  return text === '' ? '' : `${text.replaceAll(/^/gm, ' '.repeat(columns))}\n`;
}

export type Row = [
  name: string,
  text: string,
  severity: Problem['severity'],
  fieldPath: string | undefined,
  line: number | undefined,
  message: RegExp,
];

export const c0 = 'spec.containers[0]';

/** One test a row: what is wrong is told once, with its field, line and severity. */
export function testRows(rows: readonly Row[]): void {
  for (const [name, text, severity, fieldPath, line, message] of rows)
    test(`${name} is ${severity}, with field and line`, () => {
      const { pods, problems, refused } = parseManifest(text, context);
      const shown = JSON.stringify(problems, undefined, 1);
      const problem = problems.find((found) => found.fieldPath === fieldPath && message.test(found.message));
      assert.ok(problem, shown);
      assert.equal(problem.severity, severity, shown);
      assert.equal(problem.line, line, shown);
      assert.equal(problem.origin.document, 1);
      assert.equal(pods.length, severity === 'refused' ? 0 : 1, shown);
      assert.equal(refused.length, severity === 'refused' ? 1 : 0);
      // One mistake, one sentence.
      assert.equal(problems.length, 1, shown);
    });
}
