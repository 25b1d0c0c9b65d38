import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  BADVERS,
  encodeName,
  encodeReply,
  encodeSoa,
  FORMERR,
  isAnswerTo,
  NOERROR,
  NOTIMP,
  NXDOMAIN,
  parseQuery,
  type Query,
  REFUSED,
  TYPE_A,
  TYPE_AAAA,
  withId,
} from './message.ts';

/** A query as a client writes it. */
function ask(name: string, type = TYPE_A, { edns = -1, version = 0, flags = 0x0100, class_ = 1 } = {}): Buffer {
  const header = Buffer.from([0x12, 0x34, flags >> 8, flags & 0xff, 0, 1, 0, 0, 0, 0, 0, edns < 0 ? 0 : 1]);
  const opt = edns < 0 ? [] : [Buffer.from([0, 0, 41, edns >> 8, edns & 0xff, 0, version, 0, 0, 0, 0])];
  const labels = name === '' ? [] : name.split('.');
  return Buffer.concat([header, encodeName(labels), Buffer.from([type >> 8, type & 0xff, 0, class_]), ...opt]);
}

function query(...args: Parameters<typeof ask>): Query {
  const parsed = parseQuery(ask(...args));
  assert.equal(parsed?.kind, 'query');
  return parsed.query;
}

const rcode = (bytes: Buffer): unknown => {
  const parsed = parseQuery(bytes);
  return parsed?.kind === 'wrong' ? parsed.rcode : parsed?.kind;
};

test('a question is read in lower case, and comes back as it was asked', () => {
  const asked = query('WeB.Default', TYPE_AAAA);
  assert.deepEqual([asked.labels, asked.type, asked.edns, asked.maxBytes], [['web', 'default'], TYPE_AAAA, false, 512]);
  const reply = encodeReply(
    asked,
    { rcode: NOERROR, authoritative: true, ttlSeconds: 5, answers: [{ type: TYPE_A, data: Buffer.of(10, 0, 0, 2) }] },
    512,
  );
  // id; QR AA RD RA; one question, one answer; the question; a pointer to it, A, IN, 5 s, 4 bytes.
  const question = ask('WeB.Default', TYPE_AAAA).subarray(12).toString('hex');
  assert.equal(reply.toString('hex'), `123485800001000100000000${question}c00c000100010000000500040a000002`);
});

test('EDNS is answered with EDNS, and its size kept to', () => {
  assert.deepEqual([query('a', TYPE_A, { edns: 4096 }).maxBytes, query('a', TYPE_A, { edns: 10 }).maxBytes], [4096, 512]);
  const asked = query('a', TYPE_A, { edns: 1232 });
  const soa = { zone: ['local'], data: encodeSoa(['ns'], ['me'], 1, 5) };
  const reply = encodeReply(asked, { rcode: NXDOMAIN, soa, ttlSeconds: 5 }, 1232);
  assert.equal(reply.subarray(2, 12).toString('hex'), '81830001000000010001');
  assert.equal(reply.subarray(-11).toString('hex'), '00002904d0000000000000');
  const answers = Array.from({ length: 100 }, (_, i) => ({ type: TYPE_A, data: Buffer.of(10, 0, 0, i) }));
  const cut = encodeReply(asked, { rcode: NOERROR, answers }, 1232);
  assert.equal(cut.readUInt16BE(2) & 0x0200, 0x0200);
  assert.equal(cut.readUInt16BE(6), 0);
  assert.equal(encodeReply(asked, { rcode: NOERROR, answers }, 65535).readUInt16BE(6), 100);
});

test('what cannot be answered is refused with its own code, and answers are dropped', () => {
  assert.equal(rcode(ask('a', TYPE_A, { flags: 0x8100 })), undefined);
  assert.equal(rcode(Buffer.alloc(11)), undefined);
  assert.equal(rcode(ask('a', TYPE_A, { flags: 0x2800 })), NOTIMP);
  assert.equal(rcode(ask('a', 252)), REFUSED);
  assert.equal(rcode(ask('version.bind', 16, { class_: 3 })), REFUSED);
  assert.equal(rcode(ask('a', TYPE_A, { edns: 1232, version: 1 })), BADVERS);
  assert.equal(rcode(ask('a').subarray(0, -1)), FORMERR);
  const two = ask('a');
  two.writeUInt16BE(2, 4);
  assert.equal(rcode(two), FORMERR);
  // A pointer to itself.
  assert.equal(rcode(Buffer.from('123401000001000000000000c00c00010001', 'hex')), FORMERR);
  const parsed = parseQuery(ask('a', TYPE_A, { edns: 1232, version: 1 }));
  assert.ok(parsed);
  assert.equal(encodeReply(parsed.query, { rcode: BADVERS }, 512).subarray(-11).toString('hex'), '00002904d0010000000000');
});

test('no bytes make the parser fail otherwise', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => void parseQuery(Buffer.from(bytes))));
  const valid = ask('web.default.svc.cluster.local', TYPE_A, { edns: 1232 });
  const one = fc.tuple(fc.nat(valid.length - 1), fc.nat(255), fc.nat(valid.length));
  fc.assert(
    fc.property(one, ([at, value, length]) => {
      const bytes = Buffer.from(valid);
      bytes[at] = value;
      parseQuery(bytes.subarray(0, length));
      isAnswerTo(bytes.subarray(0, length), valid, 0x1234);
    }),
  );
});

test('any name survives the way through the codec', () => {
  const label = fc.stringMatching(/^[a-z0-9_-]{1,63}$/);
  fc.assert(
    fc.property(fc.array(label, { maxLength: 3 }), (labels) => {
      assert.deepEqual(query(labels.join('.')).labels, labels);
    }),
  );
});

test('an answer is taken for its own question alone', () => {
  const asked = ask('example.com');
  const reply = encodeReply(query('Example.com'), { rcode: NOERROR }, 512);
  assert.equal(isAnswerTo(withId(reply, 7), asked, 7), true);
  assert.equal(isAnswerTo(withId(reply, 8), asked, 7), false);
  assert.equal(isAnswerTo(withId(asked, 7), asked, 7), false);
  assert.equal(isAnswerTo(withId(encodeReply(query('example.org'), { rcode: NOERROR }, 512), 7), asked, 7), false);
  assert.equal(isAnswerTo(withId(encodeReply(query('example.com', TYPE_AAAA), { rcode: NOERROR }, 512), 7), asked, 7), false);
});
