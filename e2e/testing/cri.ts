// Owns short ways to sandboxes and containers over CRI for tests.
import fs from 'node:fs';
import type { CriClient } from '../../cri-proto/client.ts';
import {
  type ContainerConfig,
  ContainerState,
  type ContainerStatus,
  type DeepPartial,
  type PodSandboxConfig,
} from '../../cri-proto/gen/api.ts';
import { poll } from './poll.ts';

/** Small and everywhere: assembled from the host's own busybox. */
export const BUSYBOX = 'localhost/busybox:host';

let counter = 0;

export function sandboxConfig(name: string, logDirectory: string, more: DeepPartial<PodSandboxConfig> = {}): DeepPartial<PodSandboxConfig> {
  return {
    metadata: { name, namespace: 'default', uid: `${name}-${process.pid}-${counter++}`, attempt: 0 },
    hostname: name,
    logDirectory,
    ...more,
  };
}

export interface Started {
  readonly sandboxId: string;
  readonly containerId: string;
  readonly sandbox: DeepPartial<PodSandboxConfig>;
}

/** Pulls the image, runs a sandbox and one container in it. */
export async function runContainer(
  cri: CriClient,
  sandbox: DeepPartial<PodSandboxConfig>,
  container: DeepPartial<ContainerConfig>,
): Promise<Started> {
  const image = container.image?.image ?? BUSYBOX;
  await cri.image.pullImage({ image: { image } });
  const { podSandboxId } = await cri.runtime.runPodSandbox({ config: sandbox });
  const containerId = await startIn(cri, podSandboxId, sandbox, { ...container, image: { image } });
  return { sandboxId: podSandboxId, containerId, sandbox };
}

/** Creates and starts a container in a sandbox. */
export async function startIn(
  cri: CriClient,
  podSandboxId: string,
  sandbox: DeepPartial<PodSandboxConfig>,
  container: DeepPartial<ContainerConfig>,
): Promise<string> {
  const name = container.metadata?.name ?? `c${counter++}`;
  const config = { metadata: { name, attempt: 0 }, image: { image: BUSYBOX }, logPath: `${name}/0.log`, ...container };
  const { containerId } = await cri.runtime.createContainer({ podSandboxId, config, sandboxConfig: sandbox });
  await cri.runtime.startContainer({ containerId });
  return containerId;
}

export async function statusOf(cri: CriClient, containerId: string): Promise<ContainerStatus> {
  const { status } = await cri.runtime.containerStatus({ containerId });
  if (status === undefined) throw new Error(`no status of ${containerId}`);
  return status;
}

export async function untilExited(cri: CriClient, containerId: string, timeoutMs?: number): Promise<ContainerStatus> {
  return poll(
    `container ${containerId.slice(0, 12)} to exit`,
    async () => {
      const status = await statusOf(cri, containerId);
      return status.state === ContainerState.CONTAINER_EXITED ? status : undefined;
    },
    timeoutMs,
  );
}

/** Host pid of a container's init, from the verbose info that crictl shows too. */
export async function pidOf(cri: CriClient, containerId: string): Promise<number> {
  const { info } = await cri.runtime.containerStatus({ containerId, verbose: true });
  return (JSON.parse(info.info ?? '{}') as { pid: number }).pid;
}

export async function pausePidOf(cri: CriClient, podSandboxId: string): Promise<number> {
  const { info } = await cri.runtime.podSandboxStatus({ podSandboxId, verbose: true });
  return (JSON.parse(info.info ?? '{}') as { pid: number }).pid;
}

/** "net:[4026532000]" */
export function namespaceOf(pid: number, kind: string): string {
  return fs.readlinkSync(`/proc/${pid}/ns/${kind}`);
}

export interface LogLine {
  readonly time: string;
  readonly stream: string;
  readonly tag: string;
  readonly text: string;
}

/** The lines of a CRI log file as written; one that is just being written is not there yet. */
export function readLog(file: string): LogLine[] {
  return fs
    .readFileSync(file, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => {
      const match = /^(\S+) (stdout|stderr) (\S+) (.*)$/s.exec(line);
      if (match === null) throw new Error(`no CRI log line: ${line}`);
      const [, time = '', stream = '', tag = '', text = ''] = match;
      return { time, stream, tag, text };
    });
}

/** What a container wrote to its log, chunks joined. */
export function outputOf(file: string): string {
  return readLog(file)
    .map(({ tag, text }) => (tag.startsWith('P') ? text : `${text}\n`))
    .join('');
}

/** Runs a command in a container to its end. */
export async function execIn(
  cri: CriClient,
  containerId: string,
  cmd: string[],
  timeoutS = 10,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const { exitCode, stdout, stderr } = await cri.runtime.execSync({ containerId, cmd, timeout: BigInt(timeoutS) });
  return { code: exitCode, stdout: Buffer.from(stdout).toString(), stderr: Buffer.from(stderr).toString() };
}
