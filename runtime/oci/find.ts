// Owns looking up what the OCI spec of a container of ours says beyond its ContainerSpec: who holds its namespaces, its names, its limits.
import os from 'node:os';
import { NamespaceMode as Mode, type PodSandboxConfig } from '../../cri-proto/gen/api.ts';
import type { CgroupHost } from '../cgroup/cgroup.ts';
import type { Container } from '../container/container.ts';
import { planDeviceRules } from '../container/devices.ts';
import type { ContainerRecord } from '../container/record.ts';
import { planResources } from '../container/resources.ts';
import { findSeccompProfile } from '../container/seccomp.ts';
import type { RuntimeContext } from '../context.ts';
import { matchPrefix } from '../ids.ts';
import type { ContainerSpec } from '../program/spec.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { planOciResources } from './resources.ts';
import { planOciSeccomp } from './seccomp.ts';
import { planOciSpec } from './spec.ts';
import type { OciSpec } from './types.ts';

export interface OciInput {
  readonly record: Pick<ContainerRecord, 'config' | 'cgroupPath' | 'unified' | 'seccompProfile'>;
  readonly sandbox: { readonly id: string; readonly config: PodSandboxConfig };
  readonly pausePid?: number | undefined;
  /** Whose PID namespace is joined: the sandbox's or a target container's. */
  readonly pidHolder?: number | undefined;
  readonly host: Pick<CgroupHost, 'mode'>;
}

/** A container as an OCI runtime-spec object. */
export function planOci(spec: ContainerSpec, { record, sandbox, pausePid, pidHolder, host }: OciInput): OciSpec {
  const { config, cgroupPath } = record;
  const { metadata } = sandbox.config;
  const profile = findSeccompProfile(config.linux?.securityContext, record.seccompProfile);
  const capabilities = spec.process.capabilities.bounding;
  return planOciSpec(spec, {
    names: {
      containerName: config.metadata?.name ?? '',
      imageName: config.image?.userSpecifiedImage || config.image?.image || '',
      sandboxId: sandbox.id,
      sandboxName: metadata?.name ?? '',
      sandboxNamespace: metadata?.namespace ?? '',
      sandboxUid: metadata?.uid ?? '',
    },
    ...(pausePid === undefined ? {} : { pausePid }),
    ...(pidHolder === undefined ? {} : { pidHolder }),
    cgroupPath,
    resources: planOciResources(planResources(config.linux?.resources, record.unified), { unified: host.mode === 'unified' }),
    deviceRules: planDeviceRules(config.devices, spec.devices),
    ...(profile === undefined ? {} : { seccomp: planOciSeccomp(profile, { capabilities, kernelRelease: os.release() }) }),
  });
}

/** Of a container of ours. `spec` comes from findSpec. */
export function findOciSpec(
  context: RuntimeContext,
  { record }: Container,
  { id, record: sandbox }: Sandbox,
  spec: ContainerSpec,
): OciSpec {
  const { host } = context.cgroups;
  const pausePid = sandbox.pause?.pid;
  return planOci(spec, {
    record,
    sandbox: { id, config: sandbox.config },
    pausePid,
    pidHolder: findPidHolder(context, record, pausePid),
    host,
  });
}

/** Whose PID namespace it joins, if it joins one. */
function findPidHolder({ containers }: RuntimeContext, { config }: ContainerRecord, pausePid: number | undefined): number | undefined {
  const options = config.linux?.securityContext?.namespaceOptions;
  if (options?.pid !== Mode.TARGET) return pausePid;
  const [target] = matchPrefix(containers, options.targetId);
  return target?.record.state === 'running' ? target.record.initPid : undefined;
}
