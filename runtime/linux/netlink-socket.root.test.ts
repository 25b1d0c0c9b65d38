import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { ref } from '../program/builder.ts';
import { runInProcess } from './in-process.ts';
import { attributeString, attributeU32, NLM_F_CREATE, NLM_F_EXCL, nested } from './netlink.ts';
import { NETLINK_ROUTE, NetlinkSocket } from './netlink-socket.ts';
import { linkHeader, RTM_GETADDR, RTM_GETLINK, RTM_NEWLINK } from './rtnetlink.ts';
import { parseLink } from './rtnetlink-link.ts';
import { encodeAddressDump, parseLinkAddress } from './rtnetlink-route.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const CLONE_NEWNET = 0x40000000;

function newNetns(): number {
  const own = fs.openSync('/proc/thread-self/ns/net', 'r');
  const netns = runInProcess((program) => {
    const fd = program.slot('netns');
    program.op('unshare', [CLONE_NEWNET]);
    program.op('openat', [-100, '/proc/thread-self/ns/net', 0o2000000, 0], { dst: fd });
    program.op('setns', [own, CLONE_NEWNET]);
    program.return(ref(fd));
  });
  fs.closeSync(own);
  return netns;
}

const addBridge = (name: string) => ({
  type: RTM_NEWLINK,
  flags: NLM_F_CREATE | NLM_F_EXCL,
  what: `add bridge ${name}`,
  body: Buffer.concat([linkHeader(), attributeString(3, name), nested(18, [attributeString(1, 'bridge')])]),
});
const listLinks = { type: RTM_GETLINK, flags: 0, what: 'list links', body: linkHeader() };

test('several messages in one datagram are done and acknowledged one by one', { skip }, async (t) => {
  const netns = newNetns();
  const socket = new NetlinkSocket(NETLINK_ROUTE, netns);
  t.after(() => {
    socket.close();
    fs.closeSync(netns);
  });
  await socket.request(addBridge('one'), addBridge('two'));
  assert.deepEqual(
    (await socket.dump(listLinks)).map(parseLink).map(({ name, kind }) => [name, kind]),
    [
      ['lo', ''],
      ['one', 'bridge'],
      ['two', 'bridge'],
    ],
  );
  await assert.rejects(socket.request(addBridge('two'), addBridge('three')), {
    message: 'add bridge two: EEXIST (file exists)',
    code: 'EEXIST',
  });
  // The kernel goes on after a refused message.
  assert.equal((await socket.dump(listLinks)).length, 4);
  const wrong = { ...addBridge('four'), body: Buffer.concat([addBridge('four').body, attributeU32(10, 4711)]) };
  await assert.rejects(socket.request(wrong), /^NetlinkError: add bridge four: E/);
});

test('a socket in another namespace sees that namespace, and parallel exchanges do not mix', { skip }, async (t) => {
  const netns = newNetns();
  const there = new NetlinkSocket(NETLINK_ROUTE, netns);
  const here = new NetlinkSocket(NETLINK_ROUTE);
  t.after(() => {
    there.close();
    here.close();
    fs.closeSync(netns);
  });
  const [links, own, addresses] = await Promise.all([
    there.dump(listLinks),
    here.dump(listLinks),
    there.dump({ type: RTM_GETADDR, flags: 0, what: 'list addresses', body: encodeAddressDump() }),
  ]);
  assert.deepEqual(
    links.map(parseLink).map(({ name }) => name),
    ['lo'],
  );
  assert.deepEqual(
    own
      .map(parseLink)
      .map(({ name }) => name)
      .sort(),
    fs.readdirSync('/sys/class/net').sort(),
  );
  assert.deepEqual(addresses.map(parseLinkAddress), []);
});
