import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import fc from 'fast-check';
import { ExecSyncRequest, LinuxContainerResources, type MessageFns, PodSandboxStatus, PsiStats, UInt64Value } from './gen/api.ts';

const directory = import.meta.dirname;
const bin = path.resolve(directory, '../node_modules/.bin');
const buf = path.join(bin, 'buf');

test('the generated types are those of the .proto files', async (t) => {
  if (
    !(await fs.access(buf).then(
      () => true,
      () => false,
    ))
  )
    return t.skip('buf is not installed here (npm ci --include=dev)');
  const fresh = await fs.mkdtemp(path.join(os.tmpdir(), 'cri-gen-'));
  try {
    const env = { ...process.env, PATH: `${bin}:${path.dirname(process.execPath)}:${process.env.PATH}` };
    for (const file of ['api.proto', 'admin.proto'])
      await promisify(execFile)(buf, ['generate', file, '--template', 'buf.gen.yaml', '--output', fresh], { cwd: directory, env });
    const [ours, generated] = await Promise.all([path.join(directory, 'gen'), path.join(fresh, 'gen')].map(readAll));
    assert.ok(generated?.size);
    assert.deepEqual([...(ours?.keys() ?? [])], [...generated.keys()]);
    for (const [name, text] of generated) assert.ok(ours?.get(name) === text, `gen/${name} is not what the .proto file gives: npm run gen`);
  } finally {
    await fs.rm(fresh, { recursive: true, force: true });
  }
});

async function readAll(folder: string): Promise<Map<string, string>> {
  const names = (await fs.readdir(folder)).sort();
  return new Map(await Promise.all(names.map(async (name) => [name, await fs.readFile(path.join(folder, name), 'utf8')] as const)));
}

test('the generated types load no gRPC library', async () => {
  for (const text of (await readAll(path.join(directory, 'gen'))).values())
    assert.deepEqual(
      [...text.matchAll(/^import .* from "(.*)";$/gm)].map((match) => match[1]),
      ['@bufbuild/protobuf/wire'],
    );
});

function roundTrip<T>(codec: MessageFns<T>, message: T): T {
  return codec.decode(codec.encode(message).finish());
}

const int64 = fc.oneof(fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n), fc.constantFrom(0n, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n));
const labels = fc.dictionary(
  fc.string({ minLength: 1 }).filter((key) => key !== '__proto__'),
  fc.string(),
  { noNullPrototype: true },
);

test('int64 and uint64 are exact over their whole range', () => {
  fc.assert(
    fc.property(int64, int64, (cpuQuota, memoryLimitInBytes) => {
      const message = LinuxContainerResources.fromPartial({ cpuQuota, memoryLimitInBytes });
      assert.deepEqual(roundTrip(LinuxContainerResources, message), message);
    }),
  );
  assert.equal(roundTrip(ExecSyncRequest, ExecSyncRequest.fromPartial({ timeout: 2n ** 63n - 1n })).timeout, 9223372036854775807n);
  assert.equal(roundTrip(UInt64Value, UInt64Value.fromPartial({ value: 2n ** 64n - 1n })).value, 18446744073709551615n);
});

test('nested messages, maps, lists, text and doubles survive a round trip', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), labels, fc.array(fc.string()), int64, (id, map, ips, createdAt) => {
      const message = PodSandboxStatus.fromPartial({
        id,
        createdAt,
        labels: map,
        metadata: { name: id, attempt: 4294967295 },
        network: { additionalIps: ips.map((ip) => ({ ip })) },
      });
      assert.deepEqual(roundTrip(PodSandboxStatus, message), message);
    }),
  );
  fc.assert(
    fc.property(fc.double({ noNaN: true }), (Avg10) => {
      assert.equal(roundTrip(PsiStats, PsiStats.fromPartial({ Full: { Avg10 } })).Full?.Avg10, Object.is(Avg10, -0) ? 0 : Avg10);
    }),
  );
});

test('a field that a newer client knows passes through unchanged, at any depth', () => {
  const unknownFields = fc
    .array(
      fc.record({
        field: fc.integer({ min: 1000, max: 2 ** 29 - 1 }),
        bytes: fc.uint8Array({ maxLength: 20 }),
        varint: fc.nat(),
        kind: fc.nat(3),
      }),
    )
    .map((fields) => fields.sort((a, b) => a.field - b.field).filter(({ field }, at) => field !== fields[at - 1]?.field));
  fc.assert(
    fc.property(unknownFields, fc.string(), (fields, name) => {
      const newer = new BinaryWriter();
      if (name !== '') newer.tag(1, WireType.LengthDelimited).string(name);
      for (const { field, bytes, varint, kind } of fields) {
        if (kind === 0) newer.tag(field, WireType.Varint).uint32(varint);
        else if (kind === 1) newer.tag(field, WireType.Bit32).fixed32(varint);
        else if (kind === 2) newer.tag(field, WireType.Bit64).fixed64(varint);
        else newer.tag(field, WireType.LengthDelimited).bytes(bytes);
      }
      const metadata = newer.finish();
      const status = new BinaryWriter().tag(2, WireType.LengthDelimited).bytes(metadata).finish();
      assert.deepEqual(Buffer.from(PodSandboxStatus.encode(PodSandboxStatus.decode(status)).finish()), Buffer.from(status));
    }),
  );
});

test('an enum value that a newer client knows passes through unchanged', () => {
  const bytes = new BinaryWriter().tag(3, WireType.Varint).int32(77).finish();
  assert.deepEqual(Buffer.from(PodSandboxStatus.encode(PodSandboxStatus.decode(bytes)).finish()), Buffer.from(bytes));
});

test('truncated and hostile bytes are refused, never read past their end', () => {
  const whole = PodSandboxStatus.encode(PodSandboxStatus.fromPartial({ id: 'sandbox', metadata: { name: 'web' } })).finish();
  for (let length = 1; length < whole.length; length++) {
    if (length === 9) continue; // Exactly after the id: a shorter message, and a valid one.
    assert.throws(() => PodSandboxStatus.decode(whole.subarray(0, length)));
  }
  assert.throws(() => PodSandboxStatus.decode(Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f])));
});
