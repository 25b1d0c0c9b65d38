import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  attribute,
  attributeBe32,
  attributeString,
  attributeText,
  attributeU32,
  encodeMessage,
  listAttributes,
  nested,
  parseAttributes,
  parseError,
  parseMessages,
} from './netlink.ts';

const bytes = fc.uint8Array({ maxLength: 70 }).map((value) => Buffer.from(value));
const attributes = fc.array(fc.record({ type: fc.integer({ min: 0, max: 0x3fff }), value: bytes }, { noNullPrototype: true }), {
  maxLength: 8,
});

test('attributes come back in order, each on a 4-byte boundary', () => {
  fc.assert(
    fc.property(attributes, (list) => {
      const encoded = list.map(({ type, value }) => attribute(type, value));
      for (const one of encoded) assert.equal(one.length % 4, 0);
      assert.deepEqual(
        listAttributes(Buffer.concat(encoded)).map(({ type, value }) => ({ type, value: Buffer.from(value) })),
        list,
      );
    }),
  );
});

test('nested attributes come back from inside', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0x3fff }), attributes, (type, list) => {
      const outer = nested(
        type,
        list.map((one) => attribute(one.type, one.value)),
      );
      assert.equal(outer.readUInt16LE(2), type | 0x8000);
      const inside = parseAttributes(outer).get(type);
      assert.deepEqual(
        listAttributes(inside ?? Buffer.alloc(0)).map(({ value }) => Buffer.from(value)),
        list.map(({ value }) => value),
      );
    }),
  );
});

test('messages of one datagram come back with type, flags, sequence and body', () => {
  const request = fc.record({ type: fc.nat(0xffff), flags: fc.nat(0xffff), body: bytes, what: fc.constant('') }, { noNullPrototype: true });
  fc.assert(
    fc.property(fc.array(request, { maxLength: 6 }), (requests) => {
      const datagram = Buffer.concat(requests.map((one, i) => encodeMessage(one, i + 1)));
      assert.deepEqual(
        parseMessages(datagram).map(({ type, flags, sequence, body }) => ({ type, flags, sequence, body: Buffer.from(body) })),
        requests.map(({ type, flags, body }, i) => ({ type, flags: flags | 1, sequence: i + 1, body })),
      );
    }),
  );
});

test('parsers take any bytes', () => {
  fc.assert(
    fc.property(bytes, (any) => {
      listAttributes(any);
      parseMessages(any);
    }),
  );
});

test('integers are written in the byte order of their family', () => {
  assert.equal(attributeU32(4, 0x01020304).toString('hex'), '0800040004030201');
  assert.equal(attributeBe32(4, 0x01020304).toString('hex'), '0800040001020304');
  assert.equal(attributeBe32(4, -100).toString('hex'), '08000400ffffff9c');
});

test('strings end in a NUL that the reader drops', () => {
  const encoded = attributeString(3, 'eth0');
  assert.equal(encoded.toString('hex'), '090003006574683000000000');
  assert.equal(attributeText(parseAttributes(encoded).get(3) ?? Buffer.alloc(0)), 'eth0');
  assert.throws(() => attributeString(3, 'a\0b'), /NUL/);
});

test('an attribute that does not fit its length field is refused', () => {
  assert.throws(() => attribute(1, Buffer.alloc(65532)), /exceeds 64 KiB/);
});

function errorMessage(errno: number, flags: number, rest: Buffer) {
  const body = Buffer.alloc(20);
  body.writeInt32LE(-errno, 0);
  body.writeUInt32LE(64, 4);
  return { type: 2, flags, sequence: 7, portId: 0, body: Buffer.concat([body, rest]) };
}

test('an error names the request, the errno, the kernel’s words and the attribute', () => {
  const request = {
    type: 20,
    flags: 0,
    body: Buffer.concat([Buffer.alloc(8), attributeU32(2, 1)]),
    what: 'add address 10.244.0.5/24 to eth0',
  };
  assert.equal(parseError(errorMessage(0, 0x100, Buffer.alloc(0)), request), undefined);
  assert.equal(
    parseError(errorMessage(17, 0x100, Buffer.alloc(0)), request)?.message,
    'add address 10.244.0.5/24 to eth0: EEXIST (file exists)',
  );
  const words = Buffer.concat([attributeString(1, 'address already assigned'), attributeU32(2, 24)]);
  const error = parseError(errorMessage(17, 0x300, words), request);
  assert.equal(error?.message, 'add address 10.244.0.5/24 to eth0: EEXIST (file exists): address already assigned, attribute 2');
  assert.equal(error?.code, 'EEXIST');
  // Uncapped: the refused request stands between the errno and the words.
  assert.match(parseError(errorMessage(22, 0x200, Buffer.concat([Buffer.alloc(48), words])), request)?.message ?? '', /already assigned/);
});
