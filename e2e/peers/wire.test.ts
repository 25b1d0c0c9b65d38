// Our api.proto against the descriptors inside the pinned Go module k8s.io/cri-api, which every kubelet and crictl is built with.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import path from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { go } from './build.ts';

// The parts of protobuf's FileDescriptorSet, in its JSON form, that decide what is on the wire.
interface Field {
  readonly name: string;
  readonly number: number;
  readonly label: string;
  readonly type: string;
  readonly typeName?: string;
  readonly oneofIndex?: number;
  readonly options?: { readonly deprecated?: boolean; readonly debugRedact?: boolean };
}
interface Enum {
  readonly name: string;
  readonly value: readonly { readonly name: string; readonly number: number }[];
}
interface Message {
  readonly name: string;
  readonly field?: readonly Field[];
  readonly nestedType?: readonly Message[];
  readonly enumType?: readonly Enum[];
  readonly reservedRange?: readonly { readonly start: number; readonly end: number }[];
  readonly options?: { readonly mapEntry?: boolean };
}
interface Service {
  readonly name: string;
  readonly method: readonly {
    readonly name: string;
    readonly inputType: string;
    readonly outputType: string;
    readonly clientStreaming?: boolean;
    readonly serverStreaming?: boolean;
  }[];
}
interface File {
  readonly package: string;
  readonly messageType: readonly Message[];
  readonly enumType: readonly Enum[];
  readonly service: readonly Service[];
}

/** One line per fact: "message PodSandboxStatus", "field PodSandboxStatus.created_at = 4 TYPE_INT64 …". */
function facts(json: string): string[] {
  const [file, ...others] = (JSON.parse(json) as { file: File[] }).file;
  assert.ok(file && others.length === 0);
  return [
    `package ${file.package}`,
    ...file.messageType.flatMap((message) => messageFacts(message, '')),
    ...file.enumType.flatMap((its) => enumFacts(its, '')),
    ...file.service.flatMap(({ name, method }) =>
      method.map(
        (its) =>
          `method ${name}.${its.name} (${its.clientStreaming ? 'stream ' : ''}${its.inputType}) (${its.serverStreaming ? 'stream ' : ''}${its.outputType})`,
      ),
    ),
  ].sort();
}

function messageFacts(message: Message, outer: string): string[] {
  const name = outer + message.name;
  return [
    `message ${name}${message.options?.mapEntry ? ' of a map' : ''}`,
    ...(message.reservedRange ?? []).map(({ start, end }) => `reserved ${name} ${start}-${end}`),
    ...(message.field ?? []).map((field) => {
      const { deprecated, debugRedact } = field.options ?? {};
      const notes = [field.oneofIndex !== undefined && 'oneof', deprecated && 'deprecated', debugRedact && 'redact'].filter(Boolean);
      return ['field', `${name}.${field.name}`, '=', field.number, field.label, field.type, field.typeName, ...notes].join(' ');
    }),
    ...(message.nestedType ?? []).flatMap((nested) => messageFacts(nested, `${name}.`)),
    ...(message.enumType ?? []).flatMap((nested) => enumFacts(nested, `${name}.`)),
  ];
}

function enumFacts({ name, value }: Enum, outer: string): string[] {
  return value.map((its) => `enum ${outer}${name}.${its.name} = ${its.number}`);
}

test('every message, field, enum and method of k8s.io/cri-api is ours, and nothing else', async (t) => {
  const module = path.join(import.meta.dirname, 'wire');
  const unavailable = await go(['mod', 'download'], module).then(
    () => undefined,
    (error: Error) => error,
  );
  if (unavailable) return t.skip(`no Go toolchain, or no way to download k8s.io/cri-api: ${unavailable.message}`);
  const root = path.resolve(import.meta.dirname, '../..');
  const buf = path.join(root, 'node_modules/.bin/buf');
  const [theirs, ours] = await Promise.all([
    go(['run', '-mod=readonly', '-buildvcs=false', '.'], module),
    promisify(execFile)(buf, ['build', 'cri-proto/api.proto', '-o', '-#format=json'], { cwd: root, maxBuffer: 16 << 20 }),
  ]);
  const expected = facts(theirs);
  const found = facts(ours.stdout);
  assert.ok(expected.length > 800, `only ${expected.length} facts`);
  const [inTheirs, inOurs] = [new Set(expected), new Set(found)];
  assert.deepEqual(
    expected.filter((fact) => !inOurs.has(fact)),
    [],
    'missing in api.proto',
  );
  assert.deepEqual(
    found.filter((fact) => !inTheirs.has(fact)),
    [],
    'not in k8s.io/cri-api',
  );
});
