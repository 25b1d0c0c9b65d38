// Owns Exec, Attach and PortForward: a request is checked and gets a URL; what the URL then carries is a command, an attached client, or
// connections to a sandbox's ports.
import { attach } from '../container/attach.ts';
import type { Container } from '../container/container.ts';
import { execStream } from '../container/exec-stream.ts';
import type { RuntimeContext } from '../context.ts';
import { failedPrecondition, invalidArgument } from '../errors.ts';
import { connectInSandbox } from '../sandbox/port-forward.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import type { CriHandlers } from '../server/handlers.ts';
import type { StreamingServer } from '../streaming/server.ts';
import type { StreamHandlers } from '../streaming/session.ts';
import { runningContainerOf } from './containers.ts';
import { sandboxOf } from './sandboxes.ts';

export function streamHandlers(context: RuntimeContext): StreamHandlers {
  return {
    exec: (request, session) => execStream(context, runningContainerOf(context, request.containerId), request, session),
    attach: (request, session) => attach(context, runningContainerOf(context, request.containerId), session),
    portForward: (podSandboxId, port, signal) => connectInSandbox(readySandboxOf(context, podSandboxId), port, signal),
  };
}

export function streamingCallHandlers(context: RuntimeContext, server: StreamingServer): CriHandlers {
  return {
    exec: async (request) => {
      checkStreams(request);
      if (request.cmd.length === 0) throw invalidArgument('the request has no command');
      runningContainerOf(context, request.containerId);
      return { url: server.url({ kind: 'exec', request }) };
    },
    attach: async (request) => {
      checkStreams(request);
      checkTerminal(request, runningContainerOf(context, request.containerId));
      return { url: server.url({ kind: 'attach', request }) };
    },
    portForward: async (request) => {
      if (request.podSandboxId === '') throw invalidArgument('the request has no pod_sandbox_id');
      const wrong = request.port.find((port) => port < 1 || port > 0xffff);
      if (wrong !== undefined) throw invalidArgument(`${wrong} is no port: ports are 1 to 65535`);
      readySandboxOf(context, request.podSandboxId);
      return { url: server.url({ kind: 'portforward', request }) };
    },
  };
}

interface Streams {
  readonly containerId: string;
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

/** api.proto: one stream at least; a terminal has no stderr of its own. */
function checkStreams({ containerId, tty, stdin, stdout, stderr }: Streams): void {
  if (containerId === '') throw invalidArgument('the request has no container_id');
  if (tty && stderr) throw invalidArgument('tty and stderr cannot both be asked for: a terminal is one stream');
  if (!stdin && !stdout && !stderr) throw invalidArgument('one of stdin, stdout and stderr must be asked for');
}

/** api.proto: an attached client's terminal is the container's, or neither has one. Its size and its bytes would mean nothing otherwise. */
function checkTerminal({ tty }: Streams, { id, record }: Container): void {
  if (tty === record.config.tty) return;
  throw invalidArgument(
    tty
      ? `container ${id} was created without a terminal: attach without tty`
      : `container ${id} was created with a terminal: attach with tty, and without stderr`,
  );
}

function readySandboxOf(context: RuntimeContext, id: string): Sandbox {
  const sandbox = sandboxOf(context, id);
  if (sandbox.record.state !== 'ready') throw failedPrecondition(`sandbox ${sandbox.id} is not ready`);
  return sandbox;
}
