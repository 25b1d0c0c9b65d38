// Runs each root test in a process of its own whose network namespace plays the host, so that the machine's own network is never touched;
// and gives it pods and outsiders: processes in further network namespaces that serve and connect as told.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runInProcess } from '../../runtime/linux/in-process.ts';
import { ref } from '../../runtime/program/builder.ts';

const CASE = 'TSKUBELET_TEST_CASE';
/** An emulated processor takes its time. */
const CASE_TIMEOUT_MS = process.env.TSK_GUEST === undefined ? 60_000 : 400_000;
const CLONE_NEWNET = 0x40000000;
const AT_FDCWD = -100;
const O_CLOEXEC = 0o2000000;

/** Why a test of something that this kernel may lack cannot run here, or false: the command fails, in a network namespace of its own. */
export function lacking(what: string, command: string): string | false {
  if (process.env[CASE] !== undefined || process.getuid?.() !== 0) return missing();
  const { status } = spawnSync('unshare', ['-n', '--', 'sh', '-c', command]);
  return status === 0 ? false : `this kernel has no ${what}; e2e/guest/network.test.ts runs it in one that has`;
}

/** Why root tests cannot run here, or false. */
export function missing(...commands: readonly string[]): string | false {
  if (process.getuid?.() !== 0) return 'needs root';
  const absent = ['unshare', 'nsenter', 'ip', ...commands].filter(
    (command) => spawnSync('sh', ['-c', `command -v ${command}`]).status !== 0,
  );
  return absent.length > 0 ? `needs ${absent.join(', ')}` : false;
}

/** A test whose body runs with a network namespace as its host. */
export function hostTest(name: string, moduleUrl: string, body: () => Promise<void>, skip: string | false = missing('nft')): void {
  const wanted = process.env[CASE];
  if (wanted !== undefined) {
    if (wanted === name) void runCase(body);
    return;
  }
  test(name, { skip, timeout: CASE_TIMEOUT_MS }, async () => {
    const child = spawn('unshare', ['-n', '--', process.execPath, '--disable-warning=ExperimentalWarning', fileURLToPath(moduleUrl)], {
      env: { ...process.env, [CASE]: name, NODE_TEST_CONTEXT: undefined },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
    const code = await new Promise((resolve) => child.on('close', (status, signal) => resolve(status ?? signal)));
    if (code !== 0) throw new Error(`ended with ${String(code)}:\n${output}`);
    if (process.env.TSKUBELET_TEST_VERBOSE) process.stderr.write(output);
  });
}

const cleanups: (() => void)[] = [];

/** Runs when the case has ended, well or not; last first. */
export function cleanup(undo: () => void): void {
  cleanups.push(undo);
}

async function runCase(body: () => Promise<void>): Promise<void> {
  run('ip link set lo up');
  let code = 0;
  try {
    await body();
  } catch (error) {
    code = 1;
    console.error(error);
    console.error(spawnSync('sh', ['-c', 'ip addr; ip route; ip -6 route; bridge link; nft list ruleset'], { encoding: 'utf8' }).stdout);
  }
  for (const undo of cleanups.toReversed()) undo();
  process.exit(code);
}

/** Runs a shell command on the test's host; gives what it prints. */
export function run(command: string): string {
  const { status, stdout, stderr } = spawnSync('sh', ['-c', command], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command}: ${stderr}`);
  return stdout;
}

/** Whether rules see what a bridge forwards by itself, where br_netfilter is loaded at all; gives whether they do now. */
export function setBridgeFilter(value: 0 | 1): boolean {
  const files = ['iptables', 'ip6tables']
    .map((name) => `/proc/sys/net/bridge/bridge-nf-call-${name}`)
    .filter((file) => fs.existsSync(file));
  for (const file of files) fs.writeFileSync(file, String(value));
  return files.length > 0 && value === 1;
}

export function temporaryDirectory(): string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'cni-'));
  cleanup(() => fs.rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Waits until `probe` gives something, and gives it; says the last thing seen when time is up. */
export async function poll<T>(
  what: string,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  timeoutMs = 20_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  let seen: unknown;
  for (;;) {
    try {
      const result = await probe();
      if (result !== undefined && result !== false) return result;
      seen = result;
    } catch (error) {
      seen = error;
    }
    if (Date.now() > deadline) throw new Error(`${what} did not come within ${timeoutMs} ms; last seen: ${String(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

// Serves TCP and UDP on port 80 of both families: answers with its name and the client's address. Reads requests from stdin, one JSON
// line each, and writes the answers.
const peerScript = `
const net = require('node:net'), dgram = require('node:dgram'), name = process.argv[1];
const answer = (address) => name + ' ' + address.replace(/^::ffff:/, '');
net.createServer((s) => s.on('error', () => {}).end(answer(s.remoteAddress))).listen(80, '::', () => {
  const udp = dgram.createSocket({ type: 'udp6' });
  udp.on('message', (m, r) => udp.send(answer(r.address), r.port, r.address));
  udp.bind(80, '::', () => console.log('ready'));
});
${request.toString()}
require('node:readline').createInterface(process.stdin).on('line', (line) => {
  const { id, protocol, host, port, timeoutMs } = JSON.parse(line);
  request(net, dgram, protocol, host, port, timeoutMs).then((text) => console.log(JSON.stringify({ id, text })));
}).on('close', () => process.exit(0));
`;

/** One connection or datagram; gives what the other side answers, or the error's code. */
function request(
  tcp: typeof import('node:net'),
  udp: typeof import('node:dgram'),
  protocol: string,
  host: string,
  port: number,
  timeoutMs: number,
): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    if (protocol === 'tcp') {
      const socket = tcp.connect({ host, port });
      const timer = setTimeout(() => {
        socket.destroy();
        resolve('timeout');
      }, timeoutMs);
      socket.on('data', (chunk) => {
        text += String(chunk);
      });
      socket.on('error', (error) => {
        clearTimeout(timer);
        resolve((error as NodeJS.ErrnoException).code ?? error.message);
      });
      socket.on('end', () => {
        clearTimeout(timer);
        resolve(text);
      });
      return;
    }
    const socket = udp.createSocket(host.includes(':') ? 'udp6' : 'udp4');
    const end = (result: string) => {
      clearInterval(again);
      clearTimeout(timer);
      socket.close();
      resolve(result);
    };
    const send = () => socket.send('?', port, host, () => undefined);
    const again = setInterval(send, 200);
    const timer = setTimeout(() => end('timeout'), timeoutMs);
    socket.on('error', (error) => end((error as NodeJS.ErrnoException).code ?? error.message));
    socket.on('message', (message) => end(String(message)));
    send();
  });
}

export const REQUEST_TIMEOUT_MS = 3000;

/** A request from the test's host itself. */
export async function requestFromHost(
  protocol: 'tcp' | 'udp',
  host: string,
  port: number,
  timeoutMs = REQUEST_TIMEOUT_MS,
): Promise<string> {
  return request(await import('node:net'), await import('node:dgram'), protocol, host, port, timeoutMs);
}

export interface Peer {
  readonly name: string;
  readonly pid: number;
  readonly netnsPath: string;
  readonly netnsFd: number;
  request(protocol: 'tcp' | 'udp', host: string, port: number, timeoutMs?: number): Promise<string>;
  /** Runs a shell command in the peer's network namespace. */
  run(command: string): string;
  kill(): Promise<void>;
}

/** A network namespace that lives as long as its descriptor, without a process. */
export type Namespace = Pick<Peer, 'name' | 'netnsFd' | 'netnsPath' | 'run'>;

export function openNamespace(name: string): Namespace {
  const own = fs.openSync('/proc/thread-self/ns/net', 'r');
  const netnsFd = runInProcess((program) => {
    const fd = program.slot('netns');
    program.op('unshare', [CLONE_NEWNET]);
    program.op('openat', [AT_FDCWD, '/proc/thread-self/ns/net', O_CLOEXEC, 0], { dst: fd });
    program.op('setns', [own, CLONE_NEWNET]);
    program.return(ref(fd));
  });
  fs.closeSync(own);
  const netnsPath = `/proc/${process.pid}/fd/${netnsFd}`;
  return { name, netnsFd, netnsPath, run: (command) => run(`nsenter --net=${netnsPath} sh -c '${command}'`) };
}

/** A process in a network namespace of its own, without any link but lo; `onHost`: in the test's host instead. */
export async function startPeer(name: string, { onHost = false } = {}): Promise<Peer> {
  const [command = '', ...args] = [...(onHost ? [] : ['unshare', '-n', '--']), process.execPath, '-e', peerScript, name];
  const child: ChildProcess = spawn(command, args, {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const gone = new Promise<void>((resolve) => child.on('exit', () => resolve()));
  cleanup(() => child.kill('SIGKILL'));
  const waiting = new Map<number, (text: string) => void>();
  const pid = child.pid ?? 0;
  await new Promise<void>((resolve) => {
    readline.createInterface({ input: child.stdout! }).on('line', (line) => {
      if (line === 'ready') return resolve();
      const { id, text } = JSON.parse(line) as { id: number; text: string };
      waiting.get(id)?.(text);
    });
  });
  const netnsPath = `/proc/${pid}/ns/net`;
  const netnsFd = fs.openSync(netnsPath, 'r');
  let next = 0;
  return {
    name,
    pid,
    netnsPath,
    netnsFd,
    request: (protocol, host, port, timeoutMs = REQUEST_TIMEOUT_MS) =>
      new Promise((resolve) => {
        const id = next++;
        waiting.set(id, resolve);
        child.stdin?.write(`${JSON.stringify({ id, protocol, host, port, timeoutMs })}\n`);
      }),
    run: (command) => run(`nsenter --net=${netnsPath} sh -c '${command}'`),
    kill: async () => {
      fs.closeSync(netnsFd);
      child.kill('SIGKILL');
      await gone;
    },
  };
}
