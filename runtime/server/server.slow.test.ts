import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs/promises';
import http2 from 'node:http2';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { type CriClient, connectCri } from '../../cri-proto/client.ts';
import { Container, ContainerEventResponse, RuntimeServiceDefinition } from '../../cri-proto/gen/api.ts';
import { services } from '../../cri-proto/service.ts';
import { CriError, failedPrecondition, notFound } from '../errors.ts';
import type { CriHandlers } from './handlers.ts';
import { type CriServer, startCriServer } from './server.ts';

const directory = await fs.mkdtemp(path.join(os.tmpdir(), 'cri-server-'));
after(() => fs.rm(directory, { recursive: true, force: true }));

const warnings: string[] = [];
const logger = { debug() {}, info() {}, warn: (_: object, message: string) => warnings.push(message), error() {} };
let count = 0;

async function collect<T>(messages: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const message of messages) all.push(message);
  return all;
}

/** A server with these handlers and a client of it, both gone after the body. */
async function withServer(
  handlers: CriHandlers,
  body: (client: CriClient, server: CriServer, socketPath: string) => Promise<void>,
): Promise<void> {
  const socketPath = path.join(directory, `${++count}.sock`);
  const server = await startCriServer({ socketPath, handlers, logger, closeTimeoutMs: 200 });
  const client = connectCri(`unix://${socketPath}`);
  try {
    await body(client, server, socketPath);
  } finally {
    client.close();
    await server.close();
  }
}

test('a unary call reaches its handler whole and returns its answer whole', async () => {
  const handlers: CriHandlers = {
    version: async (request) => ({
      version: request.version,
      runtimeName: 'tskubelet',
      runtimeVersion: '0.1.0',
      runtimeApiVersion: 'v1',
    }),
    execSync: async (request) => ({
      stdout: Buffer.from(request.cmd.join(' ')),
      stderr: Buffer.alloc(0),
      exitCode: Number(request.timeout / 2n ** 62n),
    }),
  };
  await withServer(handlers, async (client) => {
    assert.equal((await client.runtime.version({ version: '0.1.0' })).runtimeName, 'tskubelet');
    const { stdout, exitCode } = await client.runtime.execSync({ cmd: ['echo', 'ü'], timeout: 2n ** 63n - 1n });
    assert.equal(Buffer.from(stdout).toString(), 'echo ü');
    assert.equal(exitCode, 1);
  });
});

test('every method without a handler answers UNIMPLEMENTED and its own name', async () => {
  await withServer({}, async (client) => {
    const calls = { ...client.runtime, ...client.image, ...client.admin } as {
      [key: string]: () => Promise<unknown> | AsyncIterable<unknown>;
    };
    const methods = services.flatMap((service) => Object.entries(service.methods));
    assert.equal(methods.length, 43 + Object.keys(client.admin).length);
    for (const [key, method] of methods) {
      const call = async () => {
        const answer = calls[key]?.();
        if (answer && Symbol.asyncIterator in answer) for await (const _ of answer);
        else await answer;
      };
      await assert.rejects(call, { code: 'UNIMPLEMENTED', message: new RegExp(`^${method.name} is not implemented`) });
    }
  });
});

test('errors become a code and one sentence with every cause, never a stack', async () => {
  const mount = new Error('mount(/a, /b): EBUSY (device or resource busy)');
  const cases: readonly [unknown, string, string][] = [
    [notFound('no container "web"'), 'NOT_FOUND', 'no container "web"'],
    [
      new Error('start container web', { cause: failedPrecondition('container is exited', mount) }),
      'FAILED_PRECONDITION',
      `start container web: container is exited: ${mount.message}`,
    ],
    [new Error('create sandbox', { cause: mount }), 'UNKNOWN', `create sandbox: ${mount.message}`],
    [new TypeError('x is not a function'), 'UNKNOWN', 'x is not a function'],
    ['text', 'UNKNOWN', 'text'],
    [new CriError('INTERNAL', 'größe – 100 % 日本'), 'INTERNAL', 'größe – 100 % 日本'],
    [notFound('ü'.repeat(10_000)), 'NOT_FOUND', `${'ü'.repeat(4095)}…`],
  ];
  let next: unknown;
  await withServer(
    {
      startContainer: async () => Promise.reject(next),
      // biome-ignore lint/correctness/useYield: fails before its first message
      getContainerEvents: async function* () {
        throw next;
      },
    },
    async (client) => {
      for (const [error, code, message] of cases) {
        next = error;
        await assert.rejects(client.runtime.startContainer(), { name: 'CriCallError', code, message });
        await assert.rejects(collect(client.runtime.getContainerEvents()), { code, message });
      }
      assert.ok(warnings.includes('x is not a function'));
    },
  );
});

/** Calls pullImage with a deadline that only the server keeps: this client does not cancel. Gives the call's grpc-status. */
async function callWithDeadline(socketPath: string, deadline: string): Promise<unknown> {
  const session = http2.connect('http://localhost', { createConnection: () => net.connect(socketPath) });
  try {
    const headers = { ':method': 'POST', ':path': '/runtime.v1.ImageService/PullImage', te: 'trailers' };
    const call = session.request({ ...headers, 'content-type': 'application/grpc', 'grpc-timeout': deadline });
    call.end(Buffer.alloc(5)); // an empty message
    // Without a message in the answer its status is among the headers.
    const [response] = (await once(call, 'response')) as [http2.IncomingHttpHeaders];
    return response['grpc-status'];
  } finally {
    session.destroy();
  }
}

test('a cancelled call and a passed deadline abort the signal with their code', async () => {
  const reasons: Promise<unknown>[] = [];
  let arrived: () => void = () => {};
  const handlers: CriHandlers = {
    pullImage: (_request, { signal }) => {
      const ended = new Promise((resolve) => signal.addEventListener('abort', () => resolve(signal.reason)));
      reasons.push(ended);
      arrived();
      return ended.then((reason) => Promise.reject(reason));
    },
  };
  await withServer(handlers, async (client, _server, socketPath) => {
    const abort = new AbortController();
    arrived = () => abort.abort();
    await assert.rejects(client.image.pullImage({}, { signal: abort.signal }), { code: 'CANCELLED' });
    assert.equal(await callWithDeadline(socketPath, '300m'), '4', 'DEADLINE_EXCEEDED');
    const [first, second] = (await Promise.all(reasons)) as CriError[];
    assert.deepEqual([first?.code, second?.code], ['CANCELLED', 'DEADLINE_EXCEEDED']);
    await assert.rejects(client.image.pullImage({}, { timeoutMs: 30 }), { code: 'DEADLINE_EXCEEDED' });
  });
});

test('a signal is not aborted by the normal end of its call', async () => {
  let signal: AbortSignal | undefined;
  await withServer(
    {
      stopContainer: async (_request, context) => {
        signal = context.signal;
        return {};
      },
    },
    async (client) => {
      await client.runtime.stopContainer();
      await client.runtime.stopContainer();
    },
  );
  assert.equal(signal?.aborted, false);
});

test('a stream passes messages in order, ends, and stops its handler when the client leaves', async () => {
  let left: () => void = () => {};
  const gone = new Promise<void>((resolve) => {
    left = resolve;
  });
  const handlers: CriHandlers = {
    async *getContainerEvents(_request, { signal }) {
      try {
        for (let n = 0n; !signal.aborted; n++) yield ContainerEventResponse.fromPartial({ createdAt: n, containerId: 'x'.repeat(1000) });
      } finally {
        left();
      }
    },
  };
  await withServer(handlers, async (client) => {
    const seen: bigint[] = [];
    for await (const event of client.runtime.getContainerEvents()) {
      seen.push(event.createdAt);
      if (seen.length === 1000) break;
    }
    assert.deepEqual(
      seen,
      Array.from({ length: 1000 }, (_, n) => BigInt(n)),
    );
    await gone;
  });
});

test('a Stream… list method answers from its List… handler, each item once', async () => {
  const containers = Array.from({ length: 150 }, (_, n) => Container.fromPartial({ id: `${n}` }));
  const handlers: CriHandlers = {
    listContainers: async ({ filter }) => ({ containers: filter?.id ? [] : containers }),
    listPodSandbox: async () => Promise.reject(notFound('nothing here')),
  };
  await withServer(handlers, async (client) => {
    const messages = await collect(client.runtime.streamContainers());
    assert.ok(messages.length > 1 && messages.every((message) => message.containers.length > 0));
    assert.deepEqual(
      messages.flatMap((message) => message.containers.map(({ id }) => id)),
      containers.map(({ id }) => id),
    );
    assert.deepEqual(await collect(client.runtime.streamContainers({ filter: { id: 'none' } })), []);
    await assert.rejects(collect(client.runtime.streamPodSandboxes()), { code: 'NOT_FOUND' });
    await assert.rejects(collect(client.image.streamImages()), { code: 'UNIMPLEMENTED', message: /^StreamImages / });
  });
});

test('messages of 32 MiB pass', async () => {
  const stdout = Buffer.alloc(16 << 20, 'o');
  await withServer({ execSync: async () => ({ stdout, stderr: stdout, exitCode: 0 }) }, async (client) => {
    const answer = await client.runtime.execSync();
    assert.equal(answer.stdout.length + answer.stderr.length, 32 << 20);
  });
});

test('the socket is private, replaces a stale one, refuses a live one and goes with its server', async () => {
  const socketPath = path.join(directory, 'own.sock');
  const stale = net.createServer().listen(path.join(directory, 'stale'));
  await fs.rename(path.join(directory, 'stale'), socketPath);
  await new Promise((resolve) => stale.close(resolve));
  const server = await startCriServer({ socketPath, handlers: {}, logger, mode: 0o600 });
  assert.equal((await fs.stat(socketPath)).mode & 0o777, 0o600);
  await assert.rejects(startCriServer({ socketPath, handlers: {}, logger }), {
    message: `listen on ${socketPath}: another process serves this socket; stop it or choose another run-dir`,
  });
  await server.close();
  assert.deepEqual(await fs.readdir(directory), []);
  await fs.writeFile(socketPath, '');
  await assert.rejects(startCriServer({ socketPath, handlers: {}, logger }), /is no socket/);
  await fs.rm(socketPath);
  await assert.rejects(startCriServer({ socketPath: `/${'x'.repeat(110)}`, handlers: {}, logger }), /is too long/);
});

test('close lets a unary call finish, ends streams, and cuts what ignores it', async () => {
  const handlers: CriHandlers = {
    stopPodSandbox: () => new Promise((resolve) => setTimeout(resolve, 50, {})),
    startContainer: () => new Promise((resolve) => setTimeout(resolve, 10_000, {}).unref()),
    createContainer: (_request, { signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    async *getContainerEvents(_request, { signal }) {
      yield ContainerEventResponse.fromPartial({});
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
    },
  };
  await withServer(handlers, async (client, server) => {
    const events = client.runtime.getContainerEvents()[Symbol.asyncIterator]();
    await events.next();
    const outcomes = Promise.allSettled([
      client.runtime.stopPodSandbox(),
      events.next(),
      client.runtime.createContainer(),
      client.runtime.startContainer(),
    ]);
    // All four are with their handlers once a fifth has been answered.
    await assert.rejects(client.runtime.version(), { code: 'UNIMPLEMENTED' });
    const began = performance.now();
    await server.close();
    assert.ok(performance.now() - began < 9000, 'startContainer was not waited for');
    const [finished, stream, aborted, cut] = await outcomes;
    assert.equal(finished?.status, 'fulfilled');
    for (const outcome of [stream, aborted]) {
      assert.ok(outcome?.status === 'rejected');
      assert.deepEqual([outcome.reason.code, outcome.reason.message], ['UNAVAILABLE', 'the runtime is shutting down']);
    }
    assert.equal(cut?.status, 'rejected');
  });
});

test('the client names the endpoint that nobody serves, and waits for one that comes', async () => {
  const socketPath = path.join(directory, 'late.sock');
  const client = connectCri(`unix://${socketPath}`);
  await assert.rejects(client.runtime.version(), {
    code: 'UNAVAILABLE',
    message: `reach the CRI runtime at unix://${socketPath}: connect ENOENT ${socketPath}`,
  });
  await assert.rejects(client.waitReady({ timeoutMs: 50 }), { code: 'UNAVAILABLE', message: /no CRI runtime answers at unix:/ });
  const ready = client.waitReady({ timeoutMs: 5000 });
  const server = await startCriServer({ socketPath, handlers: {}, logger });
  await ready;
  await assert.rejects(client.runtime.version(), { code: 'UNIMPLEMENTED' });
  client.close();
  await server.close();
  assert.throws(() => connectCri('tcp://127.0.0.1:1'), /is neither unix:\/\/\/PATH nor an absolute path/);
});

test('the 37 + 6 methods are those of cri-api v0.37', () => {
  assert.equal(Object.keys(RuntimeServiceDefinition.methods).length, 37);
});
