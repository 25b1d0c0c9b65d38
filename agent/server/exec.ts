// Owns POST /exec: one command in a running container, its whole output in the answer.
import { CriCallError, type CriClient } from '../../cri-proto/client.ts';
import type { Pods } from '../pod/pods.ts';
import { findPod, runningId } from './find.ts';
import { type Exchange, HttpError, readBody, sendJson } from './http.ts';

interface ExecRequest {
  readonly command: readonly string[];
  readonly timeoutSeconds: number;
}

export function decodeExecRequest(text: string): ExecRequest {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch (error) {
    throw new HttpError(400, 'the body is not JSON', error);
  }
  const { command, timeoutSeconds = 0 } = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>;
  if (!Array.isArray(command) || command.length === 0 || !command.every((word) => typeof word === 'string'))
    throw new HttpError(400, 'the body has no "command", a list of strings with the program first');
  if (typeof timeoutSeconds !== 'number' || !Number.isSafeInteger(timeoutSeconds) || timeoutSeconds < 0)
    throw new HttpError(400, '"timeoutSeconds" is not a whole number from 0 on');
  return { command, timeoutSeconds };
}

export async function serveExec({ request, response, params, signal }: Exchange, pods: Pods, cri: CriClient): Promise<void> {
  const { namespace = '', pod = '', container = '' } = params;
  const id = runningId(findPod(pods, namespace, pod), container);
  const { command, timeoutSeconds } = decodeExecRequest((await readBody(request)).toString('utf8'));
  try {
    const result = await cri.runtime.execSync({ containerId: id, cmd: [...command], timeout: BigInt(timeoutSeconds) }, { signal });
    sendJson(response, {
      exitCode: result.exitCode,
      stdout: Buffer.from(result.stdout).toString('base64'),
      stderr: Buffer.from(result.stderr).toString('base64'),
    });
  } catch (error) {
    // The command could not be run at all: for the caller that is an answer, with the runtime's sentence.
    if (!(error instanceof CriCallError) || signal.aborted) throw error;
    sendJson(response, { exitCode: null, stdout: '', stderr: '', error: error.message, code: error.code });
  }
}
