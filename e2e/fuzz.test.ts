// Random requests of every RPC, made from the API's descriptors, against one daemon. It never dies, what it refuses leaves nothing behind,
// and when all is removed the machine holds what it held before. TSKUBELET_FUZZ_SEED repeats or varies a run.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Client, credentials } from '@grpc/grpc-js';
import fc from 'fast-check';
import type { CriCallError, CriClient } from '../cri-proto/client.ts';
import { run } from './testing/command.ts';
import { BUSYBOX, sandboxConfig, startIn } from './testing/cri.ts';
import { poll } from './testing/poll.ts';
import { type RequestArbitrary, requestArbitraries } from './testing/proto-arbitrary.ts';
import { TestNode } from './testing/test-node.ts';

const SEED = Number(process.env.TSKUBELET_FUZZ_SEED ?? 20261127);
const ROUNDS = 12;
const CALL_MS = 3000;
/** Stands for a sandbox or container that exists at the time of the call. */
const SOME_ID = '<id>';

let node: TestNode;
let requests: readonly RequestArbitrary[];

before(async () => {
  node = await TestNode.create();
  await node.start('runtime');
  requests = await requestArbitraries(words(), overrides());
});
after(() => node?.destroy());

function words(): fc.Arbitrary<string> {
  return fc.oneof(
    { weight: 24, arbitrary: fc.constant('') },
    { weight: 2, arbitrary: fc.constantFrom('main', 'true', '0', '0-1', 'a.b', 'unconfined', 'ALL', 'CAP_CHOWN') },
    fc.constantFrom('..', '../../etc/passwd', '/', '//', '\0', 'a\nb', '%s%n', '💥', '-1', 'x'.repeat(5000)),
    fc.string({ maxLength: 20 }),
  );
}

/** Where chance alone would never get past the first check, or would reach beyond the node of this test. */
function overrides() {
  const inNode = fc.constantFrom(node.dir, path.join(node.dir, 'made'), path.join(node.dir, 'cri.sock/x'));
  const metadata = fc.record({
    name: fc.string({ minLength: 1, maxLength: 8 }),
    namespace: fc.constant('fuzz'),
    uid: fc.uuid(),
    attempt: fc.nat(3),
  });
  const mostly = <T>(usual: T, ...odd: T[]) => fc.oneof({ weight: 8, arbitrary: fc.constant(usual) }, fc.constantFrom(...odd));
  const commands = fc.constantFrom<string[]>(['true'], ['sleep', '1000'], [], ['absent'], ['']);
  return {
    container_id: mostly(SOME_ID, '', 'absent', '../..'),
    pod_sandbox_id: mostly(SOME_ID, '', 'absent', '../..'),
    'ContainerFilter.id': mostly('', SOME_ID),
    metadata: fc.oneof({ weight: 8, arbitrary: metadata }, fc.constant(undefined)),
    'ImageSpec.image': mostly(BUSYBOX, '', 'x:y:z', 'localhost/absent:1', '../..', 'x'.repeat(500)),
    command: commands,
    cmd: commands,
    runtime_handler: mostly('', 'tskubelet', 'gvisor'),
    hostname: mostly('fuzz', 'x'.repeat(65), 'a/b', ''),
    log_directory: mostly(node.logDir, '', 'relative', '../../x'),
    cgroup_parent: mostly('', `${node.cgroupRoot}/fuzz`, '../..', 'a/../../b'),
    host_path: inNode,
    'CreateContainerRequest.sandbox_config': fc.constant(undefined),
    working_dir: mostly('', '/', 'relative', '/a/../../b'),
    container_path: fc.constantFrom('/mnt', '/a/b/c', '', '/', '/etc/../../x', '/proc', '/dev/null'),
    location: inNode,
    path: inNode,
    options: fc.constant([]),
    timeout: fc.constantFrom(0n, 1n, -1n, (1n << 63n) - 1n),
    namespace_options: fc.oneof(
      { weight: 3, arbitrary: fc.constant(undefined) },
      fc.record({
        network: fc.constantFrom(0, 2, 99),
        pid: fc.constantFrom(0, 1, 2, 3, -7),
        ipc: fc.constantFrom(0, 2),
        targetId: words(),
      }),
    ),
  };
}

interface Held {
  readonly directories: readonly string[];
  readonly cgroups: readonly string[];
  readonly mounts: readonly string[];
  readonly links: readonly string[];
}

function namesBelow(directory: string): string[] {
  return fs.existsSync(directory) ? fs.readdirSync(directory).map((name) => path.join(directory, name)) : [];
}

function objectsOnDisk(): string[] {
  return [node.rootDir, node.runDir].flatMap((directory) =>
    ['sandboxes', 'containers'].flatMap((kind) => namesBelow(path.join(directory, kind))),
  );
}

async function held(): Promise<Held> {
  const hierarchies = ['/sys/fs/cgroup', ...namesBelow('/sys/fs/cgroup')].filter((directory) =>
    fs.existsSync(path.join(directory, 'cgroup.procs')),
  );
  const cgroups = hierarchies.flatMap((hierarchy) => {
    const place = path.join(hierarchy, node.cgroupRoot, 'cri');
    return fs.existsSync(place) ? namesBelow(place).filter((name) => fs.statSync(name).isDirectory()) : [];
  });
  const mounts = fs
    .readFileSync(`/proc/${node.daemon?.pid}/mountinfo`, 'utf8')
    .split('\n')
    .filter((line) => line.includes(node.id));
  const { stdout } = await run('ip', ['-n', node.netns, '-o', 'link']);
  const links = [...stdout.matchAll(/^\d+: ([^:@]+)/gm)]
    .map(([, name = '']) => name)
    .filter((name) => name.startsWith('veth') || name.startsWith('tskv'));
  return { directories: objectsOnDisk(), cgroups, mounts: mounts.map((line) => line.split(' ')[4] ?? ''), links };
}

type Untyped = Readonly<Record<string, (request: object, options: { timeoutMs: number }) => Promise<unknown> | AsyncIterable<unknown>>>;

async function send(cri: CriClient, service: string, method: string, request: object): Promise<void> {
  const client = (service === 'RuntimeService' ? cri.runtime : cri.image) as unknown as Untyped;
  const key = method[0]?.toLowerCase() + method.slice(1);
  const answer = client[key]?.(request, { timeoutMs: method === 'GetContainerEvents' ? 200 : CALL_MS });
  assert.ok(answer !== undefined, key);
  if (Symbol.asyncIterator in (answer as object)) for await (const _ of answer as AsyncIterable<unknown>);
  else await answer;
}

/** Puts an id that exists for each stand-in. */
function withIds(value: unknown, ids: { readonly [field: string]: string }): unknown {
  if (Array.isArray(value)) return value.map((part) => withIds(part, ids));
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
  return Object.fromEntries(
    Object.entries(value).map(([field, part]) => [field, part === SOME_ID ? (ids[field] ?? '') : withIds(part, ids)]),
  );
}

const CREATES = new Set(['RunPodSandbox', 'CreateContainer']);

test('random requests of every RPC leave a daemon that works and nothing half made', { timeout: 200_000 }, async (t) => {
  const { cri } = node;
  await cri.image.pullImage({ image: { image: BUSYBOX } });
  const before = await held();
  const answers = new Map<string, number>();
  const succeeded = new Set<string>();
  const started = node.daemon?.pid;
  for (let round = 0; round < ROUNDS; round++) {
    // Something for the calls of this round to act on; those that end things take the oldest.
    const config = sandboxConfig(`round${round}`, node.logDir);
    const { podSandboxId } = await cri.runtime.runPodSandbox({ config });
    await startIn(cri, podSandboxId, config, { command: ['sleep', '1000'] });
    for (const { service, method, request } of requests) {
      const [sample] = fc.sample(request, { seed: SEED + round, numRuns: 1 });
      const [{ items }, { containers }] = await Promise.all([cri.runtime.listPodSandbox({}), cri.runtime.listContainers({})]);
      const at = /^(Stop|Remove)/.test(method) ? 0 : -1;
      const containerId = containers.at(at)?.id ?? '';
      const ids = { podSandboxId: items.at(at)?.id ?? '', containerId, id: containerId };
      const known = objectsOnDisk();
      const error = await send(cri, service, method, withIds(sample, ids) as object).then(
        () => undefined,
        (refusal: CriCallError) => refusal,
      );
      assert.equal(node.daemon?.exitCode, null, `${method} ended the daemon (seed ${SEED}, round ${round}): ${node.log.slice(-2000)}`);
      if (error === undefined) succeeded.add(method);
      else {
        assert.ok(error.message.length > 0 && error.message.length <= 4200, `${method}: ${error.message.length} bytes`);
        answers.set(error.code, (answers.get(error.code) ?? 0) + 1);
        if (error.code === 'UNKNOWN' || error.code === 'INTERNAL') t.diagnostic(`${method}: ${error.code} ${error.message.slice(0, 200)}`);
        if (CREATES.has(method) && error.code !== 'DEADLINE_EXCEEDED')
          // What an earlier call that ran out of time goes on to remove is none of this one's.
          assert.deepEqual(
            objectsOnDisk().filter((name) => !known.includes(name)),
            [],
            `${method} left something: ${error.message}`,
          );
      }
      if (method === 'RemoveImage') await cri.image.pullImage({ image: { image: BUSYBOX } });
    }
  }
  t.diagnostic(
    `seed ${SEED}: refusals ${JSON.stringify(Object.fromEntries(answers))}; ${succeeded.size} of ${requests.length} methods succeeded`,
  );
  for (const method of ['RunPodSandbox', 'CreateContainer', 'StartContainer', 'StopContainer', 'ListPodSandboxStats'])
    assert.ok(succeeded.has(method), `${method} never succeeded: the requests are too wild`);
  assert.equal(node.daemon?.pid, started);
  for (const { id } of (await cri.runtime.listPodSandbox({})).items) await cri.runtime.removePodSandbox({ podSandboxId: id });
  assert.deepEqual((await cri.runtime.listContainers({})).containers, []);
  await poll('the machine to hold what it held before', async () => {
    assert.deepEqual(await held(), before);
    return true;
  });
  assert.doesNotMatch(node.log, /uncaught|unhandled/i);
});

test('bytes that are no message are refused, and the daemon goes on', { timeout: 60_000 }, async () => {
  const client = new Client(`unix://${node.socket}`, credentials.createInsecure());
  try {
    const bytes = fc.sample(fc.uint8Array({ minLength: 1, maxLength: 200 }), { seed: SEED, numRuns: 200 });
    const codes = new Set<number>();
    for (const junk of bytes)
      codes.add(
        await new Promise<number>((resolve) => {
          client.makeUnaryRequest(
            '/runtime.v1.RuntimeService/CreateContainer',
            (message: Uint8Array) => Buffer.from(message),
            (answer) => answer,
            junk,
            (error) => resolve(error?.code ?? 0),
          );
        }),
      );
    assert.ok(!codes.has(0), 'none made a container');
    assert.equal((await node.cri.runtime.version({})).runtimeName, 'tskubelet');
  } finally {
    client.close();
  }
});
