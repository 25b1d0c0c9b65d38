// Owns exec, attach and port-forward at the paths that a kubelet has: each is asked of the runtime, and the connection goes to the URL that
// it gives.
import { CriCallError, type CriClient } from '../../cri-proto/client.ts';
import { PodSandboxState } from '../../cri-proto/gen/api.ts';
import { POD_UID } from '../pod/labels.ts';
import type { Pods } from '../pod/pods.ts';
import { findPod, runningId } from './find.ts';
import { HttpError } from './http.ts';
import type { UpgradeRoute } from './upgrade.ts';

export interface Streams {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

/** The kubelet's names of the streams, and the API server's. */
export function parseStreams(query: URLSearchParams): Streams {
  const asked = (...names: readonly string[]) =>
    names.some((name) => {
      const value = query.get(name);
      if (value !== null && !['1', 'true', '0', 'false', ''].includes(value)) throw new HttpError(400, `${name}=${value}: expected 1 or 0`);
      return value === '1' || value === 'true';
    });
  const streams = {
    stdin: asked('input', 'stdin'),
    stdout: asked('output', 'stdout'),
    stderr: asked('error', 'stderr'),
    tty: asked('tty'),
  };
  if (!streams.stdin && !streams.stdout && !streams.stderr) throw new HttpError(400, 'one of input, output and error must be asked for');
  // A terminal has no stderr of its own.
  return streams.tty ? { ...streams, stderr: false } : streams;
}

export function parsePorts(query: URLSearchParams): readonly number[] {
  return query.getAll('port').map((text) => {
    const port = Number(text);
    if (!/^\d+$/.test(text) || port < 1 || port > 0xffff) throw new HttpError(400, `port=${text}: ports are 1 to 65535`);
    return port;
  });
}

export function streamRoutes(pods: Pods, cri: CriClient): readonly UpgradeRoute[] {
  return [
    {
      path: '/exec/{namespace}/{pod}/{container}',
      target: async ({ params, query }) => {
        const cmd = query.getAll('command');
        if (cmd.length === 0) throw new HttpError(400, 'the query has no "command", one per word');
        const containerId = idOf(pods, params);
        return ask('exec', cri.runtime.exec({ containerId, cmd, ...parseStreams(query) }));
      },
    },
    {
      path: '/attach/{namespace}/{pod}/{container}',
      target: async ({ params, query }) => ask('attach', cri.runtime.attach({ containerId: idOf(pods, params), ...parseStreams(query) })),
    },
    {
      path: '/portForward/{namespace}/{pod}',
      target: async ({ params, query }) => {
        const port = [...parsePorts(query)];
        const podSandboxId = await sandboxOf(pods, cri, params);
        return ask('port-forward', cri.runtime.portForward({ podSandboxId, port }));
      },
    },
  ];
}

type Params = Readonly<Record<string, string>>;

function idOf(pods: Pods, { namespace = '', pod = '', container = '' }: Params): string {
  return runningId(findPod(pods, namespace, pod), container);
}

async function sandboxOf(pods: Pods, cri: CriClient, { namespace = '', pod = '' }: Params): Promise<string> {
  const worker = findPod(pods, namespace, pod);
  const state = { state: PodSandboxState.SANDBOX_READY };
  const { items } = await cri.runtime.listPodSandbox({ filter: { labelSelector: { [POD_UID]: worker.pod.uid }, state } });
  const newest = items.sort((a, b) => (b.metadata?.attempt ?? 0) - (a.metadata?.attempt ?? 0))[0];
  if (newest === undefined) throw new HttpError(400, `pod ${pod} has no sandbox that is ready`);
  return newest.id;
}

async function ask(what: string, call: Promise<{ readonly url: string }>): Promise<URL> {
  try {
    return new URL((await call).url);
  } catch (error) {
    if (error instanceof CriCallError) throw new HttpError(502, `${what}: ${error.message}`);
    throw error;
  }
}
