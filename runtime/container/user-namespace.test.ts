import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type DeepPartial, NamespaceMode, NamespaceOption } from '../../cri-proto/gen/api.ts';
import { planContainerNamespaces, planSandboxNamespaces } from './namespaces.ts';
import { hostId, isMapped, planIdMaps } from './user-namespace.ts';

const options = (partial: DeepPartial<NamespaceOption>) => NamespaceOption.fromPartial(partial);
const range = { containerId: 0, hostId: 100_000, length: 1000 };
const pod = { mode: NamespaceMode.POD, uids: [range], gids: [range] };
const maps = planIdMaps(options({ usernsOptions: pod }));

test('planIdMaps reads one range each, and none for the host’s users', () => {
  const expected = [{ containerId: 0, hostId: 100_000, size: 1000 }];
  assert.deepEqual(maps, { uidMappings: expected, gidMappings: expected });
  assert.equal(planIdMaps(undefined), undefined);
  assert.equal(planIdMaps(options({ usernsOptions: { mode: NamespaceMode.NODE } })), undefined);
});

test('planIdMaps refuses what the kernel or CRI could not mean', () => {
  const refused: [DeepPartial<NamespaceOption>, RegExp][] = [
    [{ usernsOptions: { ...pod, uids: [] } }, /uids has 0 mappings/],
    [{ usernsOptions: { ...pod, gids: [range, range] } }, /gids has 2 mappings/],
    [{ usernsOptions: { ...pod, uids: [{ ...range, containerId: 5 }] } }, /must begin with container_id 0/],
    [{ usernsOptions: { ...pod, uids: [{ ...range, length: 0 }] } }, /at least one/],
    [{ usernsOptions: { ...pod, uids: [{ ...range, hostId: 4_294_967_000 }] } }, /none above 4294967294/],
    [{ usernsOptions: { ...pod, mode: NamespaceMode.NODE } }, /only mode POD takes them/],
    [{ usernsOptions: pod, network: NamespaceMode.NODE }, /host's network namespace/],
    [{ usernsOptions: pod, pid: NamespaceMode.NODE }, /host's pid namespace/],
    [{ usernsOptions: pod, ipc: NamespaceMode.NODE }, /host's ipc namespace/],
  ];
  for (const [asked, message] of refused) assert.throws(() => planIdMaps(options(asked)), { code: 'INVALID_ARGUMENT', message });
});

test('hostId follows the range and refuses what is outside', () => {
  assert.equal(hostId('uid', 7, undefined), 7);
  assert.equal(hostId('uid', 999, maps?.uidMappings), 100_999);
  assert.throws(() => hostId('gid', 1000, maps?.gidMappings), { message: /gid 1000 is not mapped/ });
});

test('a mount is mapped as its sandbox or not at all', () => {
  assert.equal(isMapped('/v', { uidMappings: [], gidMappings: [] }, maps), false);
  assert.equal(isMapped('/v', { uidMappings: [range], gidMappings: [range] }, maps), true);
  const other = { ...range, hostId: 5 };
  for (const sandbox of [maps, undefined])
    assert.throws(() => isMapped('/v', { uidMappings: [other], gidMappings: [range] }, sandbox), { message: /mount of \/v/ });
});

test('a container joins the user and time namespaces of its sandbox, and cannot ask for others', () => {
  const sandbox = options({ usernsOptions: pod });
  assert.equal(planSandboxNamespaces(sandbox).user, 'new');
  assert.equal(planSandboxNamespaces(sandbox, true).time, 'new');
  assert.equal(planSandboxNamespaces(undefined).time, undefined);
  assert.equal(planContainerNamespaces(sandbox, undefined).user, 'join');
  assert.equal(planContainerNamespaces(sandbox, sandbox, true).time, 'join');
  const hosts = options({ usernsOptions: { mode: NamespaceMode.NODE } });
  assert.equal(planContainerNamespaces(undefined, hosts).user, 'host');
  assert.throws(() => planContainerNamespaces(sandbox, hosts), { message: /differ from its sandbox'/ });
  assert.throws(() => planContainerNamespaces(undefined, sandbox), { message: /differ from its sandbox'/ });
});
