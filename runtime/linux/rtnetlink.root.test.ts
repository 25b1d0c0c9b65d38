// Property tests of the rtnetlink codec against the kernel's own answers: what is made in a network namespace is what its dump decodes to.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { ref } from '../program/builder.ts';
import { hasCode } from './errno.ts';
import { runInProcess } from './in-process.ts';
import { NLM_F_CREATE, NLM_F_EXCL } from './netlink.ts';
import { NETLINK_ROUTE, NetlinkSocket } from './netlink-socket.ts';
import * as rt from './rtnetlink.ts';
import {
  encodeLink,
  encodePortVlan,
  encodePortVlanDump,
  type Link,
  type LinkChange,
  type LinkDetails,
  parseLink,
  parsePortVlans,
} from './rtnetlink-link.ts';
import {
  AF_INET,
  AF_INET6,
  encodeAddress,
  encodeAddressDump,
  encodeNeighbour,
  encodeNeighbourDump,
  encodeRoute,
  encodeRouteDump,
  IFA_F_NODAD,
  NUD_PERMANENT,
  parseLinkAddress,
  parseNeighbour,
  parseRoute,
  type RouteChange,
} from './rtnetlink-route.ts';
import {
  clsactParent,
  encodeFilter,
  encodeFilterDump,
  encodeQdisc,
  encodeQdiscDump,
  INGRESS_HANDLE,
  parseFilter,
  parseQdisc,
  TC_H_INGRESS,
  TC_H_ROOT,
} from './rtnetlink-traffic.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const CLONE_NEWNET = 0x40000000;
/** Not shrunk: a failure leaves links behind that would fail the next run. */
const RUNS = { numRuns: 12, endOnFailure: true };

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

const netns = skip ? -1 : newNetns();
const other = skip ? -1 : newNetns();
const socket = skip ? undefined : new NetlinkSocket(NETLINK_ROUTE, netns);
after(() => {
  socket?.close();
  for (const fd of [netns, other]) if (fd >= 0) fs.closeSync(fd);
});

const act = (type: number, body: Buffer, flags = NLM_F_CREATE | NLM_F_EXCL) =>
  socket!.request({ type, flags, body, what: `request ${type}` });
const dump = async <T>(type: number, body: Buffer, parse: (message: Parameters<typeof parseLink>[0]) => T): Promise<T[]> =>
  (await socket!.dump({ type, flags: 0, body, what: `dump ${type}` })).map(parse);
const links = () => dump(rt.RTM_GETLINK, encodeLink({}), parseLink);

async function linkNamed(name: string): Promise<Link> {
  const link = (await links()).find((one) => one.name === name);
  assert.ok(link, `link ${name}`);
  return link;
}

async function make(change: LinkChange & { readonly name: string }): Promise<Link> {
  await act(rt.RTM_NEWLINK, encodeLink(change));
  return linkNamed(change.name);
}

const remove = (name: string) => act(rt.RTM_DELLINK, encodeLink({ name }), 0);

/** Skips what this kernel was built without; e2e/guest runs these tests where it is there. Deletes the links that were made. */
function kernelTest(title: string, what: string, body: () => Promise<void>): void {
  test(title, { skip }, (t) => whereSupported(t, what, body));
}

async function whereSupported(t: TestContext, what: string, body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    const cause = (error as Error).cause ?? error;
    if (!hasCode(cause, 'EOPNOTSUPP') && !/qdisc kind is unknown/.test((cause as Error).message)) throw error;
    t.skip(`this kernel has no ${what}`);
  } finally {
    for (const link of await links()) if (link.name !== 'lo') await remove(link.name).catch(() => undefined);
  }
}

const name = fc.stringMatching(/^[a-z][a-z0-9_.-]{0,13}[a-z0-9]$/).filter((text) => text !== 'lo' && text !== 'base');
const mac = fc
  .uint8Array({ minLength: 5, maxLength: 5 })
  .map((bytes) => ['02', ...[...bytes].map((b) => b.toString(16).padStart(2, '0'))].join(':'));
const mtu = fc.integer({ min: 1280, max: 1500 });
const maybe = { noNullPrototype: true } as const;

const details: Record<string, fc.Arbitrary<LinkDetails>> = {
  bridge: fc.record({ kind: fc.constant('bridge' as const), stp: fc.boolean() }, maybe),
  'bridge with VLANs': fc.record(
    {
      kind: fc.constant('bridge' as const),
      stp: fc.boolean(),
      vlanFiltering: fc.boolean(),
      vlanDefaultPvid: fc.integer({ min: 0, max: 4094 }),
    },
    maybe,
  ),
  veth: fc.constant({ kind: 'veth' }),
  dummy: fc.constant({ kind: 'dummy' }),
  ifb: fc.constant({ kind: 'ifb' }),
  vlan: fc.record(
    {
      kind: fc.constant('vlan' as const),
      id: fc.integer({ min: 1, max: 4094 }),
      protocol: fc.constantFrom('802.1Q' as const, '802.1ad' as const),
    },
    maybe,
  ),
  macvlan: fc.record(
    { kind: fc.constant('macvlan' as const), mode: fc.constantFrom('private', 'vepa', 'bridge', 'passthru', 'source') },
    maybe,
  ),
  ipvlan: fc.record(
    {
      kind: fc.constant('ipvlan' as const),
      mode: fc.constantFrom('l2' as const, 'l3' as const),
      flag: fc.constantFrom('bridge' as const, 'private' as const, 'vepa' as const),
    },
    maybe,
  ),
};

for (const [what, arbitrary] of Object.entries(details))
  kernelTest(`a link made as ${what} is decoded as it was asked for`, what, async () => {
    const child = ['vlan', 'macvlan', 'ipvlan'].includes(what);
    if (child) await make({ name: 'base', details: { kind: 'veth', peer: { name: 'basepeer', netnsFd: other } }, up: true });
    const parent = child ? (await linkNamed('base')).index : undefined;
    await fc.assert(
      fc.asyncProperty(name, mac, mtu, fc.boolean(), fc.boolean(), arbitrary, async (as, address, bytes, up, promiscuous, wanted) => {
        // An ipvlan has the MAC of the link below it, and a macvlan that passes through too.
        const own = wanted.kind === 'ipvlan' || (wanted.kind === 'macvlan' && wanted.mode === 'passthru') ? {} : { mac: address };
        const asked = { name: as, ...own, mtu: bytes, up, ...(parent === undefined ? {} : { parent }) };
        const link = await make({ ...asked, promiscuous, details: wanted });
        await remove(as);
        assert.partialDeepStrictEqual(link, { ...asked, kind: wanted.kind, details: wanted });
        if (wanted.kind !== 'macvlan' && wanted.kind !== 'ipvlan') assert.equal(link.promiscuous, promiscuous);
      }),
      RUNS,
    );
  });

kernelTest('a veth pair is made across two namespaces, renamed, and its port of a bridge set', 'veth', async () => {
  const bridge = await make({ name: 'br', details: { kind: 'bridge' } });
  await fc.assert(
    fc.asyncProperty(mac, mtu, fc.boolean(), fc.boolean(), async (address, bytes, hairpin, isolated) => {
      const peer: LinkChange = { name: 'inside', mac: address, mtu: bytes, netnsFd: other };
      const made = await make({ name: 'outside', mtu: bytes, master: bridge.index, details: { kind: 'veth', peer } });
      await act(rt.RTM_NEWLINK, encodeLink({ index: made.index, name: 'renamed', alias: 'a sandbox', port: { hairpin, isolated } }), 0);
      assert.partialDeepStrictEqual(await linkNamed('renamed'), {
        index: made.index,
        mtu: bytes,
        alias: 'a sandbox',
        master: bridge.index,
        port: { hairpin, isolated },
      });
      const there = new NetlinkSocket(NETLINK_ROUTE, other);
      const [inside] = (await there.dump({ type: rt.RTM_GETLINK, flags: 0, body: encodeLink({}), what: 'list links' }))
        .map(parseLink)
        .filter((link) => link.name === 'inside');
      there.close();
      assert.partialDeepStrictEqual(inside, { mac: address, mtu: bytes, kind: 'veth' });
      await remove('renamed');
    }),
    RUNS,
  );
});

kernelTest('VLANs of a port are decoded as they were added', 'VLAN filtering on bridges', async () => {
  const bridge = await make({ name: 'br', details: { kind: 'bridge', vlanFiltering: true, vlanDefaultPvid: 0 } });
  const port = await make({ name: 'port', master: bridge.index, details: { kind: 'veth', peer: { name: 'portpeer' } } });
  const vlans = [
    { id: 7, pvid: true, untagged: true },
    { id: 40, pvid: false, untagged: false },
    { id: 4094, pvid: false, untagged: true },
  ];
  for (const vlan of vlans) await act(rt.RTM_SETLINK, encodePortVlan(port.index, vlan), 0);
  await act(rt.RTM_SETLINK, encodePortVlan(bridge.index, { id: 40, pvid: false, untagged: false }, true), 0);
  const of = async (index: number) =>
    (await dump(rt.RTM_GETLINK, encodePortVlanDump(), parsePortVlans)).find((one) => one.index === index)?.vlans;
  assert.deepEqual(await of(port.index), vlans);
  assert.deepEqual(await of(bridge.index), [{ id: 40, pvid: false, untagged: false }]);
  await act(rt.RTM_DELLINK, encodePortVlan(port.index, { id: 40, pvid: false, untagged: false }), 0);
  assert.deepEqual(await of(port.index), [vlans[0], vlans[2]]);
});

const bytes = (length: number, first: number) =>
  fc.uint8Array({ minLength: length - 1, maxLength: length - 1 }).map((rest) => Buffer.from([first, ...rest]));
const address4 = bytes(4, 10);
const address6 = bytes(16, 0xfd);

kernelTest('addresses are decoded as they were added', 'veth', async () => {
  const link = await make({ name: 'base', details: { kind: 'veth' }, up: true });
  const address = fc.oneof(
    fc.record({
      bytes: address4,
      prefixLength: fc.integer({ min: 8, max: 32 }),
      label: fc.constant('base:x'),
      peer: address4,
    }),
    fc.record({ bytes: address6, prefixLength: fc.integer({ min: 8, max: 128 }), flags: fc.constant(IFA_F_NODAD) }),
  );
  await fc.assert(
    fc.asyncProperty(address, async (one) => {
      const wanted = { index: link.index, ...one };
      await act(rt.RTM_NEWADDR, encodeAddress(wanted));
      const found = (await dump(rt.RTM_GETADDR, encodeAddressDump(), parseLinkAddress)).find((known) => known.bytes.equals(one.bytes));
      await act(rt.RTM_DELADDR, encodeAddress(wanted), 0);
      assert.equal(found?.prefixLength, one.prefixLength);
      assert.equal(found?.index, link.index);
      if ('label' in one) assert.equal(found?.label, one.label);
      else assert.equal((found?.flags ?? 0) & IFA_F_NODAD, IFA_F_NODAD);
      if ('peer' in one) assert.deepEqual(found?.peer, one.peer);
      else assert.equal(found?.peer, undefined);
    }),
    RUNS,
  );
});

kernelTest('routes are decoded as they were added', 'veth', async () => {
  const link = await make({ name: 'base', details: { kind: 'veth', peer: { name: 'basepeer' } }, up: true });
  await act(rt.RTM_NEWLINK, encodeLink({ name: 'basepeer', up: true }), 0);
  const own = { 4: Buffer.from([10, 0, 0, 1]), 6: Buffer.from('fd000000000000000000000000000001', 'hex') };
  await act(rt.RTM_NEWADDR, encodeAddress({ index: link.index, bytes: own[4], prefixLength: 24 }));
  await act(rt.RTM_NEWADDR, encodeAddress({ index: link.index, bytes: own[6], prefixLength: 64, flags: IFA_F_NODAD }));
  const route = fc
    .record({
      family: fc.constantFrom(AF_INET, AF_INET6),
      length: fc.nat(),
      noise: fc.uint8Array({ minLength: 15, maxLength: 15 }),
      table: fc.constantFrom(254, 100, 1000),
      priority: fc.integer({ min: 1, max: 10000 }),
      gateway: fc.boolean(),
      onLink: fc.boolean(),
      mtu: fc.option(fc.integer({ min: 1280, max: 1500 }), { nil: undefined }),
      advmss: fc.option(fc.integer({ min: 500, max: 1400 }), { nil: undefined }),
      source: fc.boolean(),
    })
    .map(({ family, length, noise, gateway, source, onLink, mtu: routeMtu, advmss, ...rest }): RouteChange => {
      const size = family === AF_INET ? 4 : 16;
      const prefixLength = length % (size * 8 + 1);
      const ours = own[family === AF_INET ? 4 : 6];
      const via = Buffer.from(ours);
      via[size - 1] = 2;
      return {
        ...rest,
        family,
        prefixLength,
        destination: masked(Buffer.from([family === AF_INET ? 11 : 0xfc, ...noise]).subarray(0, size), prefixLength),
        linkIndex: link.index,
        ...(gateway ? { gateway: via, ...(onLink ? { onLink } : {}) } : {}),
        ...(source ? { source: ours } : {}),
        ...(routeMtu === undefined ? {} : { mtu: routeMtu }),
        ...(advmss === undefined ? {} : { advmss }),
      };
    });
  await fc.assert(
    fc.asyncProperty(route, async (wanted) => {
      await act(rt.RTM_NEWROUTE, encodeRoute(wanted));
      const found = (await dump(rt.RTM_GETROUTE, encodeRouteDump(wanted.family), parseRoute)).filter(
        ({ priority, table }) => priority === wanted.priority && table === wanted.table,
      );
      await act(rt.RTM_DELROUTE, encodeRoute(wanted), 0);
      assert.equal(found.length, 1);
      assert.partialDeepStrictEqual(found[0], { ...wanted, destination: wanted.prefixLength === 0 ? Buffer.alloc(0) : wanted.destination });
    }),
    { ...RUNS, numRuns: 40 },
  );
});

function masked(address: Buffer, prefixLength: number): Buffer {
  return Buffer.from(address.map((byte, i) => byte & (0xff << Math.max(0, Math.min(8, 8 * (i + 1) - prefixLength)))));
}

kernelTest('neighbours are decoded as they were added', 'veth', async () => {
  const link = await make({ name: 'base', details: { kind: 'veth' }, up: true });
  await fc.assert(
    fc.asyncProperty(fc.oneof(address4, address6), mac, async (address, lladdr) => {
      const wanted = { linkIndex: link.index, bytes: address, mac: lladdr, state: NUD_PERMANENT };
      await act(rt.RTM_NEWNEIGH, encodeNeighbour(wanted));
      const found = await dump(rt.RTM_GETNEIGH, encodeNeighbourDump(), parseNeighbour);
      assert.deepEqual(
        found.find((one) => one.bytes.equals(address) && one.linkIndex === link.index),
        wanted,
      );
    }),
    RUNS,
  );
});

kernelTest('token buckets are decoded as they were added', 'tbf', async () => {
  const link = await make({ name: 'base', details: { kind: 'veth' } });
  const bucket = fc.record({
    rateBytesPerSecond: fc.oneof(fc.bigInt({ min: 1000n, max: 1_000_000_000n }), fc.bigInt({ min: 1n << 32n, max: 1n << 36n })),
    burstBytes: fc.integer({ min: 2000, max: 500_000 }),
    limitBytes: fc.integer({ min: 10_000, max: 2_000_000_000 }),
  });
  await fc.assert(
    fc.asyncProperty(bucket, async (asked) => {
      const place = { linkIndex: link.index, parent: TC_H_ROOT, handle: 0x10000 };
      await act(rt.RTM_NEWQDISC, encodeQdisc({ ...place, details: { kind: 'tbf', ...asked } }));
      const [found] = (await dump(rt.RTM_GETQDISC, encodeQdiscDump(), parseQdisc)).filter(({ linkIndex }) => linkIndex === link.index);
      await act(rt.RTM_DELQDISC, encodeQdisc(place), 0);
      assert.ok(found?.details?.kind === 'tbf');
      const { burstBytes, ...exact } = found.details;
      assert.deepEqual(
        { ...place, ...exact },
        { ...place, kind: 'tbf', rateBytesPerSecond: asked.rateBytesPerSecond, limitBytes: asked.limitBytes },
      );
      // Seconds of the bucket's depth are kept in 32 bits of 64 ns.
      const ticks = (BigInt(asked.burstBytes) * 1_000_000_000n) / asked.rateBytesPerSecond / 64n;
      if (ticks < 1n << 32n)
        assert.ok(Math.abs(burstBytes - asked.burstBytes) <= Number(asked.rateBytesPerSecond / 15_000_000n) + 2, `${burstBytes}`);
    }),
    { ...RUNS, numRuns: 30 },
  );
});

for (const kind of ['ingress', 'clsact'] as const)
  kernelTest(`${kind} and filters that redirect are decoded as they were added`, 'traffic control', async () => {
    const link = await make({ name: 'base', details: { kind: 'veth' } });
    const target = await make({ name: 'target', details: { kind: 'ifb' } });
    const parent = kind === 'ingress' ? INGRESS_HANDLE : clsactParent('ingress');
    const place = { linkIndex: link.index, parent: TC_H_INGRESS, handle: INGRESS_HANDLE };
    const match = fc.record(
      {
        value: fc.nat(0xffffffff),
        mask: fc.integer({ min: 1, max: 0xffffffff }),
        offset: fc.integer({ min: 0, max: 10 }).map((n) => 4 * n),
      },
      maybe,
    );
    await act(rt.RTM_NEWQDISC, encodeQdisc({ ...place, details: { kind } }));
    const [qdisc] = (await dump(rt.RTM_GETQDISC, encodeQdiscDump(), parseQdisc)).filter((one) => one.kind === kind);
    assert.deepEqual(qdisc, { ...place, kind, details: { kind } });
    let priority = 1;
    await fc.assert(
      fc.asyncProperty(
        fc.array(match, { maxLength: 4 }),
        fc.option(fc.integer({ min: 1, max: 0xffff }), { nil: undefined }),
        async (keys, classId) => {
          const matches = keys.map(({ value, mask, offset }) => ({ value: (value & mask) >>> 0, mask, offset }));
          const wanted = {
            linkIndex: link.index,
            parent,
            priority: priority++,
            matches,
            redirectTo: target.index,
            ...(classId === undefined ? {} : { classId }),
          };
          await act(rt.RTM_NEWTFILTER, encodeFilter(wanted));
          const found = await dump(rt.RTM_GETTFILTER, encodeFilterDump(link.index, parent), parseFilter);
          assert.deepEqual(
            found.filter((one) => one?.priority === wanted.priority),
            [wanted],
          );
        },
      ),
      RUNS,
    );
  });

kernelTest('a refusal carries the kernel’s own words', 'veth', async () => {
  await make({ name: 'base', details: { kind: 'veth' } });
  await assert.rejects(
    act(rt.RTM_NEWLINK, encodeLink({ name: 'base', mtu: 10 ** 9 }), 0),
    /EINVAL \(invalid argument\): mtu greater than device maximum/,
  );
  await assert.rejects(
    act(
      rt.RTM_NEWROUTE,
      encodeRoute({ family: AF_INET, destination: Buffer.from([11, 0, 0, 0]), prefixLength: 8, gateway: Buffer.from([99, 0, 0, 1]) }),
    ),
    /ENETUNREACH .*: Nexthop has invalid gateway/,
  );
});
