// Owns the verbose info of statuses: containerd's keys, so that tools find them, and the syscall program in words.

import type { Container } from '../container/container.ts';
import { findSpec } from '../container/find-spec.ts';
import { planSandboxNamespaces } from '../container/namespaces.ts';
import type { RuntimeContext } from '../context.ts';
import { findOciSpec } from '../oci/find.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { explainContainer, explainPause } from './explain.ts';
import { RUNTIME_NAME } from './node.ts';

/** What generated messages keep for round trips says nothing to a reader. */
const UNKNOWN_FIELDS = '_unknownFields';

function json(value: unknown): string {
  return JSON.stringify(value, (key, part: unknown) => {
    if (key === UNKNOWN_FIELDS) return undefined;
    if (part instanceof Uint8Array) return `${part.length} bytes`;
    return typeof part === 'bigint' ? Number(part) : part;
  });
}

export function sandboxInfo({ record }: Sandbox): Record<string, string> {
  const pid = record.pause?.pid ?? 0;
  const info = {
    sandboxID: record.id,
    pid,
    image: '',
    snapshotKey: '',
    snapshotter: '',
    runtimeHandler: record.runtimeHandler,
    runtimeType: RUNTIME_NAME,
    config: record.config,
    namespaces: planSandboxNamespaces(record.config.linux?.securityContext?.namespaceOptions),
  };
  return { info: json(info), program: json(explainPause(record)) };
}

export async function containerInfo(context: RuntimeContext, container: Container): Promise<Record<string, string>> {
  const { record } = container;
  const info = {
    sandboxID: record.sandboxId,
    pid: record.state === 'running' ? (record.initPid ?? 0) : 0,
    removing: record.state === 'removing',
    snapshotKey: record.id,
    snapshotter: 'overlayfs',
    runtimeType: RUNTIME_NAME,
    config: record.config,
    phases: record.phases,
    oomKills: record.oomKills,
    cgroupPath: record.cgroupPath,
  };
  const sandbox = context.sandboxes.get(record.sandboxId);
  if (sandbox === undefined) return { info: json(info) };
  const spec = await findSpec(context, container, sandbox);
  return {
    info: json({ ...info, runtimeSpec: findOciSpec(context, container, sandbox, spec) }),
    program: json(explainContainer(record, spec)),
  };
}
