// Owns how commands talk to a running agent: HTTP over <run-dir>/agent.sock.
import http from 'node:http';
import { CommandError } from '../error.ts';
import type { Settings } from './settings.ts';

export interface AgentResponse {
  readonly status: number;
  readonly body: http.IncomingMessage;
}

const REQUEST_TIMEOUT_MS = 30_000;

/** Sends one request; a missing daemon is one sentence naming the socket and how to start. */
export function request(
  settings: Settings,
  path: string,
  options: { method?: string; body?: string; signal?: AbortSignal; timeoutMs?: number } = {},
): Promise<AgentResponse> {
  return new Promise((resolve, reject) => {
    const { method = 'GET', body, signal, timeoutMs = REQUEST_TIMEOUT_MS } = options;
    const outgoing = http.request(
      { socketPath: settings.agentSocket, path, method, ...(signal === undefined ? {} : { signal }) },
      (incoming) => {
        outgoing.setTimeout(0);
        resolve({ status: incoming.statusCode ?? 0, body: incoming });
      },
    );
    outgoing.setTimeout(timeoutMs, () =>
      outgoing.destroy(new Error(`the tskubelet at ${settings.agentSocket} did not answer within ${timeoutMs / 1000} s`)),
    );
    outgoing.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') reject(noDaemon(settings));
      else if (error.code === 'EACCES')
        reject(new CommandError(`${settings.agentSocket} may only be used by root: run the command with sudo`));
      else reject(error);
    });
    outgoing.end(body);
  });
}

export function noDaemon({ agentSocket, runDir }: Settings): CommandError {
  const where = runDir === '/run/tskubelet' ? '' : ` --run-dir ${runDir}`;
  return new CommandError(`no tskubelet runs here (nothing listens on ${agentSocket}): start one with 'tskubelet --manifests DIR${where}'`);
}

/** The whole body as text; a status of 400 or more is an error with the agent's sentence. */
export async function readText({ status, body }: AgentResponse): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString('utf8');
  if (status >= 400) throw new CommandError(text.trim() || `the agent answered with HTTP status ${status}`);
  return text;
}

export async function getJson<T>(settings: Settings, path: string): Promise<T> {
  return JSON.parse(await readText(await request(settings, path))) as T;
}
