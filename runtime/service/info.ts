// Owns the verbose info of statuses: containerd's keys, so that tools find them, and the syscall program in words.

import { planRestore } from '../checkpoint/restore.ts';
import type { Container } from '../container/container.ts';
import { findSpec } from '../container/find-spec.ts';
import type { RuntimeContext } from '../context.ts';
import { planOciCreate } from '../oci/bundle.ts';
import { findOciSpec } from '../oci/find.ts';
import { OCI_VERSION } from '../oci/spec.ts';
import type { OciNamespace, OciSpec } from '../oci/types.ts';
import { planPause } from '../sandbox/plan.ts';
import type { SandboxRecord } from '../sandbox/record.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { explainContainer, explainPause } from './explain.ts';
import { RUNTIME_NAME } from './node.ts';
import { protoJson } from './proto-json.ts';

const SNAPSHOTTER = 'overlayfs';

/** Every digit of a 64-bit limit stays. */
function json(value: unknown): string {
  const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown };
  return JSON.stringify(value, (_key, part: unknown) => {
    if (part instanceof Uint8Array) return `${part.length} bytes`;
    return typeof part === 'bigint' ? rawJSON(String(part)) : part;
  });
}

/** What the sandbox would be for an OCI runtime, as far as there is something to say: its namespaces, by the pause process that holds them. */
function sandboxSpec({ config, pause }: SandboxRecord): Pick<OciSpec, 'ociVersion' | 'annotations'> & { hostname: string; linux: object } {
  const { namespaces, hostname, sysctls } = planPause(config);
  const types = { net: 'network', ipc: 'ipc', uts: 'uts', pid: 'pid', user: 'user', time: 'time' } as const;
  const own = Object.entries(namespaces).filter(([, kind]) => kind === 'new');
  return {
    ociVersion: OCI_VERSION,
    hostname,
    annotations: config.annotations,
    linux: {
      namespaces: own.map(([kind]): OciNamespace => {
        const type = types[kind as keyof typeof types];
        return pause === undefined ? { type } : { type, path: `/proc/${pause.pid}/ns/${kind}` };
      }),
      sysctl: sysctls,
      ...(config.linux?.cgroupParent ? { cgroupsPath: config.linux.cgroupParent } : {}),
    },
  };
}

/** Absent in the host's network and in what has ended; a namespace that is going away says why there is nothing to see. */
async function networkInfo({ network }: RuntimeContext, { id, record }: Sandbox): Promise<Record<string, string>> {
  if (record.state !== 'ready' || !record.networkAttached) return {};
  const explained = await network.explain(id).catch((error: Error) => ({ problem: error.message }));
  return explained === undefined ? {} : { network: json(explained) };
}

export async function sandboxInfo(context: RuntimeContext, sandbox: Sandbox): Promise<Record<string, string>> {
  const { record } = sandbox;
  const running = record.state === 'ready';
  const info = {
    sandboxID: record.id,
    pid: running ? (record.pause?.pid ?? 0) : 0,
    processStatus: running ? 'running' : 'deleted',
    netNamespaceClosed: !running,
    image: '',
    snapshotKey: record.id,
    snapshotter: SNAPSHOTTER,
    runtimeHandler: record.runtimeHandler,
    runtimeType: RUNTIME_NAME,
    runtimeOptions: null,
    config: protoJson(record.config),
    runtimeSpec: sandboxSpec(record),
  };
  return { info: json(info), program: json(explainPause(record)), ...(await networkInfo(context, sandbox)) };
}

export async function containerInfo(context: RuntimeContext, container: Container): Promise<Record<string, string>> {
  const { record } = container;
  const info = {
    sandboxID: record.sandboxId,
    pid: record.state === 'running' ? (record.initPid ?? 0) : 0,
    removing: record.state === 'removing',
    snapshotKey: record.id,
    snapshotter: SNAPSHOTTER,
    runtimeType: RUNTIME_NAME,
    runtimeOptions: null,
    config: protoJson(record.config),
    phases: record.phases,
    oomKills: record.oomKills,
    cgroupPath: record.cgroupPath,
    ...(record.restore === undefined ? {} : { restored: true, checkpointedAt: record.restore.checkpointedAt }),
  };
  const sandbox = context.sandboxes.get(record.sandboxId);
  if (sandbox === undefined) return { info: json(info) };
  const spec = await findSpec(context, container, sandbox);
  const config = findOciSpec(context, container, sandbox, spec);
  const { ociRuntime: runtime } = record;
  const oci = runtime === undefined ? undefined : { config, create: planOciCreate(context, record.id, { runtime, spec }) };
  const restore = record.restore === undefined ? undefined : planRestore(context.paths, record, spec);
  return { info: json({ ...info, runtimeSpec: config }), program: json(explainContainer(record, spec, { oci, restore })) };
}
