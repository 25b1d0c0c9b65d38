// Owns RunPodSandbox: record, files, pause process, network, in this order; what was made is undone backwards when a step fails.
import fs from 'node:fs';
import { NamespaceMode as Mode, type PodSandboxConfig } from '../../cri-proto/gen/api.ts';
import { hostId } from '../container/user-namespace.ts';
import type { RuntimeContext } from '../context.ts';
import { alreadyExists, failedPrecondition, invalidArgument, unimplemented } from '../errors.ts';
import { newId, sandboxKey } from '../ids.ts';
import { type OciRuntime, OWN_HANDLERS } from '../oci/runtimes.ts';
import { startPause } from '../process/pause.ts';
import { createRollback } from '../rollback.ts';
import { identify } from '../state/process-identity.ts';
import { nowNs } from '../time.ts';
import { watchSandbox } from './end.ts';
import { mountShm, removeSandboxFiles, writeSandboxAddresses, writeSandboxFiles } from './files.ts';
import { modeOf } from './modes.ts';
import { planNetworkRequest } from './network-request.ts';
import { planPause } from './plan.ts';
import type { SandboxRecord } from './record.ts';
import { Sandbox } from './sandbox.ts';
import { killPause } from './stop.ts';
import { checkSysctls } from './sysctls.ts';
import { TIME_OFFSET } from './time-offset.ts';

const MAX_HOSTNAME_BYTES = 64;

/** Refuses what no later step could make sense of. */
export function checkSandboxConfig(
  config: PodSandboxConfig | undefined,
  runtimeHandler: string,
  ociRuntimes: ReadonlyMap<string, OciRuntime>,
): PodSandboxConfig {
  if (config?.metadata === undefined) throw invalidArgument('sandbox config has no metadata');
  const { name, namespace, uid } = config.metadata;
  if (name === '' || uid === '' || namespace === '') throw invalidArgument('sandbox metadata needs a name, a namespace and a uid');
  if (!OWN_HANDLERS.includes(runtimeHandler)) checkExternalHandler(config, runtimeHandler, ociRuntimes);
  if (Buffer.byteLength(config.hostname) > MAX_HOSTNAME_BYTES)
    throw invalidArgument(`hostname "${config.hostname.slice(0, MAX_HOSTNAME_BYTES)}…" is longer than ${MAX_HOSTNAME_BYTES} bytes`);
  for (const { hostPort, containerPort } of config.portMappings)
    if (hostPort < 0 || hostPort > 65535 || containerPort < 1 || containerPort > 65535)
      throw invalidArgument(`port mapping ${hostPort} to ${containerPort}: ports go from 1 to 65535`);
  checkNamespaces(config);
  checkSysctls(config);
  planNetworkRequest(config);
  return config;
}

/** Planned once now, so that what cannot be asked is told before anything is made. */
function checkNamespaces(config: PodSandboxConfig): void {
  const { namespaces } = planPause(config);
  if (namespaces.time === 'new' && !fs.existsSync('/proc/self/ns/time'))
    throw failedPrecondition(`annotation ${TIME_OFFSET}: this kernel has no time namespaces (CONFIG_TIME_NS): run the pod without it`);
}

function checkExternalHandler(config: PodSandboxConfig, handler: string, ociRuntimes: ReadonlyMap<string, OciRuntime>): void {
  const runtime = ociRuntimes.get(handler);
  if (runtime === undefined) {
    const known = [...OWN_HANDLERS, ...ociRuntimes.keys()].map((name) => `"${name}"`).join(', ');
    throw invalidArgument(
      `no runtime for "${handler}" is configured: use one of ${known}, or start with --runtime-handler ${handler}=PATH`,
    );
  }
  const userns = config.linux?.securityContext?.namespaceOptions?.usernsOptions;
  if (userns?.mode === Mode.POD && !runtime.idMappedMounts)
    throw unimplemented(
      `${runtime.path} of runtime handler "${handler}" does not say that it maps the owners of mounts, which a pod in a user namespace needs: use runc 1.2 or newer, crun 1.9 or newer, or our own runtime`,
    );
}

export async function runPodSandbox(
  context: RuntimeContext,
  config: PodSandboxConfig,
  runtimeHandler: string,
  more: Pick<SandboxRecord, 'restoring'> = {},
): Promise<Sandbox> {
  const metadata = config.metadata;
  if (metadata === undefined) throw invalidArgument('sandbox config has no metadata');
  const key = sandboxKey(metadata);
  const holder = context.names.get(key);
  if (holder !== undefined) throw alreadyExists(`sandbox name "${key}" is reserved for "${holder}"`);
  const record: SandboxRecord = {
    id: newId(),
    recordId: context.nextRecordId(),
    createdAt: nowNs(),
    config,
    runtimeHandler,
    state: 'creating',
    bootId: context.bootId,
    ips: [],
    networkAttached: false,
    ...more,
  };
  const sandbox = new Sandbox(context.paths, record);
  context.names.set(key, sandbox.id);
  context.sandboxes.set(sandbox.id, sandbox);
  const rollback = createRollback();
  try {
    await makeSandbox(context, sandbox, rollback.add);
    return sandbox;
  } catch (error) {
    const failures = await rollback.run();
    if (failures.length === 0) {
      context.sandboxes.delete(sandbox.id);
      context.names.delete(key);
    } else {
      // State unknown: it stays visible as not ready, so that the client may stop and remove it again.
      sandbox.change({ state: 'notReady' });
      for (const failure of failures) context.logger.error({ sandbox: sandbox.id, err: failure }, 'undo of a failed sandbox');
    }
    throw new Error(`run sandbox ${metadata.namespace}/${metadata.name}`, { cause: error });
  }
}

async function makeSandbox(context: RuntimeContext, sandbox: Sandbox, undo: (what: string, undo: () => Promise<void> | void) => void) {
  const { paths, faultPoint } = context;
  const { id, config, recordId } = sandbox.record;
  const hostNetwork = modeOf(config, 'network') === Mode.NODE;
  sandbox.change({});
  undo('record', () => sandbox.forget());
  faultPoint('sandbox recorded');

  const dir = paths.sandboxRun(id);
  undo('files', () => removeSandboxFiles(dir));
  const spec = planPause(config);
  const owner = { uid: hostId('uid', 0, spec.uidMappings), gid: hostId('gid', 0, spec.gidMappings) };
  await writeSandboxFiles(dir, config, hostNetwork, owner);
  if (modeOf(config, 'ipc') !== Mode.NODE) mountShm(paths.sandboxShm(id), owner);
  if (config.logDirectory !== '') await fs.promises.mkdir(config.logDirectory, { recursive: true, mode: 0o755 });
  faultPoint('sandbox files written');

  const pause = await startPause(spec, {
    events: context.events,
    recordId,
    name: id,
    ...(context.cgroups.shimDir === undefined ? {} : { shimCgroup: context.cgroups.shimDir }),
  });
  undo('pause process', () => killPause(sandbox));
  watchSandbox(context, sandbox, pause.ended);
  const identity = identify(pause.pid);
  if (identity === undefined) throw new Error(`pause process ${pause.pid} ended at once`);
  sandbox.change({ pause: identity });
  faultPoint('sandbox paused');

  if (!hostNetwork) {
    sandbox.change({ networkAttached: true });
    undo('network', async () => {
      await context.network.detach(id);
      sandbox.change({ networkAttached: false });
    });
    const attachment = await attach(context, sandbox, identity.pid);
    await writeSandboxAddresses(dir, config, attachment.ips);
    sandbox.change({ ips: attachment.ips });
    faultPoint('sandbox attached');
  }
  sandbox.change({ state: 'ready' });
}

async function attach(context: RuntimeContext, sandbox: Sandbox, pausePid: number) {
  const { config, id } = sandbox.record;
  const netnsPath = `/proc/${pausePid}/ns/net`;
  const netns = fs.openSync(netnsPath, 'r');
  try {
    return await context.network.attach({ ...planNetworkRequest(config), sandboxId: id, netnsFd: netns, netnsPath });
  } finally {
    fs.closeSync(netns);
  }
}
