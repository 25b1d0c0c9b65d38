import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as kubernetes from '@kubernetes/client-node';
import { podObjects } from './schema.ts';

interface Attribute {
  readonly baseName: string;
  readonly type: string;
  readonly format: string;
}

function attributesOf(name: string): Attribute[] {
  const models = kubernetes as unknown as Record<string, { getAttributeTypeMap?: () => Attribute[] } | undefined>;
  const model = models[`V1${name}`] ?? models[`CoreV1${name}`];
  assert.ok(model?.getAttributeTypeMap, `the client library has no ${name}`);
  return model.getAttributeTypeMap();
}

function expectedType({ type, format }: Attribute): RegExp {
  const list = /^Array<(.*)>$/.exec(type);
  if (list) return new RegExp(`^\\[\\]${expectedType({ baseName: '', type: list[1] ?? '', format }).source.slice(1)}`);
  if (type.startsWith('{ [key')) return /^map\[(string|quantity)\]$/;
  if (type === 'number') return new RegExp(`^${format}$`);
  if (type === 'boolean') return /^bool$/;
  if (type === 'IntOrString') return /^int-or-string$/;
  if (type === 'string' || type === 'Date') return /^(string|quantity)$/;
  if (type === 'any') return /^any$/;
  return new RegExp(`^${type.replace(/^(Core)?V1/, '')}$`);
}

test('every object of the table has exactly the fields, with the types, that the client library gives it', () => {
  for (const [name, schema] of Object.entries(podObjects)) {
    const types = new Map<string, string>([
      ...Object.entries(schema.fields),
      ...Object.entries(schema.later ?? {}).map(([field, { type }]) => [field, type] as const),
    ]);
    const server = new Set(schema.server ?? []);
    const attributes = attributesOf(name);
    assert.deepEqual([...types.keys(), ...server].sort(), attributes.map(({ baseName }) => baseName).sort(), name);
    for (const attribute of attributes) {
      if (!server.has(attribute.baseName))
        assert.match(types.get(attribute.baseName) ?? '', expectedType(attribute), `${name}.${attribute.baseName}`);
    }
  }
});

test('every type that the table names is described in it', () => {
  const scalars = /^(string|int32|int64|bool|quantity|int-or-string|any)$/;
  for (const [name, schema] of Object.entries(podObjects)) {
    for (const type of [...Object.values(schema.fields), ...Object.values(schema.later ?? {}).map((field) => field.type)]) {
      const inner = type.replace(/^\[\]/, '').replace(/^map\[(.*)\]$/, '$1');
      assert.ok(scalars.test(inner) || inner in podObjects, `${name} names ${inner}`);
    }
  }
});
