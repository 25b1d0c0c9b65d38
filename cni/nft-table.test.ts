import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nftBatch } from '../runtime/linux/nfnetlink.ts';
import { parseCidr, parseIp } from './ip.ts';
import { compare, ctState, dnat, encodeExpressions, jump, lookup, mask, masquerade, meta, payload, word } from './nft-expression.ts';
import { addChain, addElements, addRule, addSet, addTable, concatenate, deleteElements } from './nft-message.ts';
import { continueCounts, type HostPort, planChanges, planElements, planRules, planTable, ruleKey } from './nft-table.ts';

const hex = (...parts: readonly Buffer[]) => Buffer.concat(parts).toString('hex');

test('expressions are encoded as the kernel reads them', () => {
  assert.equal(hex(...meta('l4proto', word(1)).attributes), '08000100000000090800020000000010');
  assert.equal(hex(...payload('transport', 2, 2, word(2)).attributes), '080001000000000a080002000000000208000300000000020800040000000002');
  assert.equal(hex(...compare('neq', Buffer.of(2)).attributes), '080001000000000108000200000000010c0003800500010002000000');
  assert.equal(
    hex(...mask(Buffer.of(255, 255, 0, 0)).attributes),
    '0800010000000001080002000000000108000300000000040c00048008000100ffff00000c0005800800010000000000',
  );
  assert.equal(hex(...lookup('hp', 1, 1).attributes), '070001006870000008000200000000010800030000000001');
  assert.equal(hex(...ctState().attributes), '08000100000000010800020000000000');
  assert.equal(hex(...dnat(6, word(0), word(4)).attributes), '0800010000000001080002000000000a0800030000000008080005000000000c');
  assert.equal(hex(...jump('c').attributes), '0800010000000000180002801400028008000100fffffffd0600020063000000');
  assert.equal(hex(...encodeExpressions([masquerade])), '14000180090001006d6173710000000004000280');
});

test('a concatenation starts each field on a register', () => {
  assert.equal(hex(concatenate(Buffer.of(6), Buffer.of(0x1f, 0x90))), '060000001f900000');
});

test('requests are encoded as the kernel reads them', () => {
  assert.equal(hex(addTable('t').body), '0100000006000100740000000800020000000000');
  assert.equal(
    hex(addChain('t', 'c', { type: 'nat', hook: 'prerouting', priority: -100 }).body),
    '010000000600010074000000060003006300000014000480080001000000000008000200ffffff9c0800050000000001080007006e617400',
  );
  // inet_proto . inet_service: (12 << 6) | 13, eight bytes.
  assert.match(
    hex(addSet('t', { name: 's', key: ['inet_proto', 'inet_service'], data: ['ipv4_addr', 'inet_service'] }, 3).body),
    /0800030000000008080004000000030d080005000000000808000600000001cd080007000000000808000a0000000003$/,
  );
  const element = { key: Buffer.of(1, 2, 3, 4), data: Buffer.of(5, 6, 7, 8) };
  assert.match(hex(addElements('t', 's', [element])[0]!.body), /1c0001800c00018008000100010203040c0002800800010005060708$/);
  assert.match(hex(deleteElements('t', 's', [element])[0]!.body), /100001800c0001800800010001020304$/);
  assert.match(hex(addRule('t', { chain: 'c', comment: 'why', expressions: [masquerade] }).body), /0a0007000004776879000000$/);
});

test('many elements are split, each message within a nested attribute', () => {
  const elements = Array.from({ length: 1001 }, (_, i) => ({ key: Buffer.of(0, 0, i >> 8, i & 0xff) }));
  assert.equal(addElements('t', 's', elements).length, 3);
});

test('a batch is framed, and acknowledged on its last request', () => {
  const batch = nftBatch([addTable('a'), addTable('b')]);
  assert.deepEqual(
    batch.map(({ type }) => type),
    [0x10, 0xa00, 0xa00, 0x11],
  );
  assert.equal(hex(batch[0]!.body), '0000000a');
  assert.deepEqual(
    batch.map(({ flags }) => flags & 4),
    [0, 0, 4, 0],
  );
});

const web: HostPort = { protocol: 'tcp', hostPort: 8080, address: parseIp('10.244.0.5'), containerPort: 80 };

test('a hostPort is one element of a map, keyed by address where it has one', () => {
  const elements = planElements([web, { ...web, hostPort: 8081, hostIp: parseIp('127.0.0.1') }]);
  assert.deepEqual([...elements.get('hostport4')!.keys()], ['060000001f900000']);
  assert.equal(hex(elements.get('hostport4')!.get('060000001f900000')!.data!), '0af4000500500000');
  assert.deepEqual([...elements.get('hostip4')!.keys()], ['7f000001060000001f910000']);
  assert.deepEqual([...elements.get('hairpin4')!.keys()], ['0af400050af40005']);
  assert.equal(elements.get('hostport6')!.size, 0);
});

test('planChanges adds what is missing, deletes what is too much, and replaces what differs', () => {
  const before = planElements([web]);
  assert.deepEqual(planChanges(before, planElements([web])), []);
  const moved = planChanges(before, planElements([{ ...web, containerPort: 81 }]));
  assert.deepEqual(
    moved.map(({ set, added, deleted }) => [set, added.length, deleted.length]),
    [['hostport4', 1, 1]],
  );
  assert.deepEqual(
    planChanges(before, planElements([])).map(({ set, added, deleted }) => [set, added.length, deleted.length]),
    [
      ['hairpin4', 0, 1],
      ['hostport4', 0, 1],
    ],
  );
});

test('an element goes on counting where it leads to what it led to', () => {
  const count = { packets: 3n, bytes: 180n };
  const listed = (hostPorts: readonly HostPort[]) =>
    new Map([...planElements(hostPorts)].map(([set, all]) => [set, new Map([...all].map(([key, one]) => [key, { ...one, count }]))]));
  const continued = (next: HostPort) =>
    [
      ...continueCounts(planElements([next]), listed([web]))
        .get('hostport4')!
        .values(),
    ].map((one) => one.count);
  assert.deepEqual(continued(web), [count]);
  assert.deepEqual(continued({ ...web, address: parseIp('10.244.0.6') }), [undefined]);
  assert.deepEqual(continued({ ...web, hostPort: 8081 }), [undefined]);
  // NFTA_SET_ELEM_EXPR { name "counter", data { bytes, packets } }, each number big endian.
  const [request] = addElements('t', 's', [{ key: Buffer.of(1, 2, 3, 4), count }]);
  assert.match(hex(request!.body), /2c0007800c000100636f756e746572001c0002800c00010000000000000000b40c0002000000000000000003$/);
});

test('rules are told apart by chain and comment, and go on counting by these', () => {
  const cidrs = ['10.244.0.0/24', 'fd00:244::/64'].map(parseCidr);
  const config = {
    table: 't',
    bridge: 'tsk0',
    cidrs,
    direct: ['10.0.0.0/8', '172.16.0.0/12', 'fd00::/8'].map(parseCidr),
    bridgeFilter: [],
  };
  const keys = planRules(config).map(ruleKey);
  assert.equal(new Set(keys).size, keys.length);
  const key = 'postrouting: pods to other networks, IPv6';
  const counting = (packets: bigint) => planTable(config, new Map([[key, { packets, bytes: 0n }]])).map(({ body }) => hex(body));
  const changed = counting(7n).flatMap((body, i) => (body === counting(0n)[i] ? [] : body));
  assert.equal(changed.length, 1);
  assert.match(changed[0] ?? '', /0c0002000000000000000007/);
});

test('the table is replaced in one transaction: made, deleted, made, then sets, chains, rules', () => {
  const config = { table: 'tskubelet', bridge: 'tsk0', cidrs: [parseCidr('10.244.0.0/24')], direct: [], bridgeFilter: [] };
  const plan = planTable(config).map(({ what }) => what);
  assert.deepEqual(plan.slice(0, 3), ['add table inet tskubelet', 'delete table inet tskubelet', 'add table inet tskubelet']);
  assert.ok(plan.indexOf('add chain hostports') < plan.findIndex((what) => what.startsWith('add rule')));
  assert.equal(planRules(config).filter(({ comment }) => comment === 'pods to other networks, IPv4').length, 1);
});
