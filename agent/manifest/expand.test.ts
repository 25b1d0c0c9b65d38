import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { expandEnv, expandText, expandWords } from './expand.ts';
import { checkFieldPath, fieldRefValue } from './field-ref.ts';

const values = new Map([
  ['A', 'one'],
  ['B', 'two'],
  ['EMPTY', ''],
  ['SELF', '$(A)'],
]);

test('expandText replaces known variables, unescapes $$ and leaves the rest as written', () => {
  const cases: [string, string][] = [
    ['$(A)', 'one'],
    ['x$(A)y$(B)z', 'xoneytwoz'],
    ['$$(A)', '$(A)'],
    ['$$$(A)', '$one'],
    ['$$$$(A)', '$$(A)'],
    ['$(UNKNOWN)', '$(UNKNOWN)'],
    ['$(EMPTY)', ''],
    ['$A ${A}', '$A ${A}'],
    ['$(A', '$(A'],
    ['$', '$'],
    ['$$', '$'],
    ['$()', '$()'],
    ['$($(A))', '$($(A))'],
    ['$(SELF)', '$(A)'],
    ['100%', '100%'],
  ];
  for (const [text, expanded] of cases) assert.equal(expandText(text, values), expanded, text);
});

test('text without a dollar is never changed', () => {
  fc.assert(fc.property(fc.string(), (text) => expandText(text.replaceAll('$', ''), values) === text.replaceAll('$', '')));
});

test('expandEnv sees earlier variables only, and the last of two values', () => {
  const pod = {
    metadata: { name: 'web', namespace: 'default', uid: 'u1', labels: { app: 'x' } },
    spec: { containers: [], nodeName: 'n1' },
  };
  const container = {
    name: 'c',
    env: [
      { name: 'EARLY', value: '$(LATE)' },
      { name: 'LATE', value: 'late' },
      { name: 'BOTH', value: '$(EARLY) $(LATE) $(POD)' },
      { name: 'POD', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
      { name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } },
      { name: 'URL', value: 'http://$(IP)/$(POD)' },
      { name: 'ABSENT', valueFrom: { secretKeyRef: { name: 's', key: 'k', optional: true } } },
      { name: 'NOTHING' },
      { name: 'LATE', value: 'later' },
    ],
  };
  const env = expandEnv(container, pod, { podIPs: ['10.0.0.2', 'fd00::2'], hostIPs: ['192.0.2.1'] });
  assert.deepEqual(Object.fromEntries(env), {
    EARLY: '$(LATE)',
    LATE: 'later',
    BOTH: '$(LATE) late $(POD)',
    POD: 'web',
    IP: '10.0.0.2',
    URL: 'http://10.0.0.2/web',
    NOTHING: '',
  });
  assert.deepEqual(expandWords(['sh', '-c', 'echo $(LATE) $(X)'], env), ['sh', '-c', 'echo later $(X)']);
});

test('a fieldRef reads the pod, its addresses, labels and annotations', () => {
  const pod = {
    metadata: { name: 'web', namespace: 'ns', uid: 'u1', labels: { app: 'x' }, annotations: { 'example.com/k': 'v' } },
    spec: { containers: [], nodeName: 'n1' },
  };
  const addresses = { podIPs: ['10.0.0.2', 'fd00::2'], hostIPs: ['192.0.2.1'] };
  const cases: [string, string][] = [
    ['metadata.namespace', 'ns'],
    ['metadata.uid', 'u1'],
    ['spec.nodeName', 'n1'],
    ['status.podIPs', '10.0.0.2,fd00::2'],
    ['status.hostIP', '192.0.2.1'],
    ["metadata.labels['app']", 'x'],
    ["metadata.annotations['example.com/k']", 'v'],
    ["metadata.labels['none']", ''],
  ];
  for (const [fieldPath, value] of cases) {
    assert.equal(checkFieldPath(fieldPath), undefined, fieldPath);
    assert.equal(fieldRefValue(pod, fieldPath, addresses), value, fieldPath);
  }
  for (const fieldPath of ['', 'spec.hostname', 'metadata.labels', "metadata.labels['']", 'toString', "metadata.labels['a b']"]) {
    assert.notEqual(checkFieldPath(fieldPath), undefined, fieldPath);
  }
});
