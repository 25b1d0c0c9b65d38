// Owns looking up what the OCI spec of a container of ours says beyond its ContainerSpec: who holds its namespaces, its names, its limits.
import os from 'node:os';
import { NamespaceMode as Mode } from '../../cri-proto/gen/api.ts';
import type { Container } from '../container/container.ts';
import { planDeviceRules } from '../container/devices.ts';
import { planResources } from '../container/resources.ts';
import { findSeccompProfile } from '../container/seccomp.ts';
import type { RuntimeContext } from '../context.ts';
import { findByPrefix } from '../ids.ts';
import type { ContainerSpec } from '../program/spec.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { planOciResources } from './resources.ts';
import { planOciSeccomp } from './seccomp.ts';
import { planOciSpec } from './spec.ts';
import type { OciSpec } from './types.ts';

/** The container as an OCI runtime-spec object. `spec` comes from findSpec. */
export function findOciSpec(context: RuntimeContext, container: Container, sandbox: Sandbox, spec: ContainerSpec): OciSpec {
  const { config, cgroupPath } = container.record;
  const { metadata } = sandbox.record.config;
  const pausePid = sandbox.record.pause?.pid;
  const options = config.linux?.securityContext?.namespaceOptions;
  const targetPid = options?.pid === Mode.TARGET ? findByPrefix(context.containers, options.targetId)?.record.initPid : undefined;
  const profile = findSeccompProfile(config.linux?.securityContext, container.record.seccompProfile);
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
    ...(targetPid === undefined ? {} : { targetPid }),
    cgroupPath,
    resources: planOciResources(planResources(config.linux?.resources, container.record.unified), {
      unified: context.cgroups.host.mode === 'unified',
    }),
    deviceRules: planDeviceRules(config.devices, spec.devices),
    ...(profile === undefined ? {} : { seccomp: planOciSeccomp(profile, { capabilities, kernelRelease: os.release() }) }),
  });
}
