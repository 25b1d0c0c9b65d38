// Owns UpdateContainerResources: the whole request is checked first, then the kernel is told, then the record, which a later start, the
// status and the next daemon go by.
import fs from 'node:fs';
import { LinuxContainerConfig, type LinuxContainerResources } from '../../cri-proto/gen/api.ts';
import { openCgroup } from '../cgroup/apply.ts';
import type { CgroupPlan } from '../cgroup/cgroup.ts';
import { changeCgroup } from '../cgroup/change.ts';
import { planCgroup } from '../cgroup/plan.ts';
import { readProcs } from '../cgroup/processes.ts';
import type { RuntimeContext } from '../context.ts';
import { CriError, failedPrecondition, invalidArgument, renderError } from '../errors.ts';
import { hasCode } from '../linux/errno.ts';
import type { Container } from './container.ts';
import { checkResources, mergeResources } from './merge-resources.ts';
import type { ContainerRecord } from './record.ts';
import { planResources, resourceError } from './resources.ts';

export async function updateContainer(context: RuntimeContext, container: Container, asked: LinuxContainerResources): Promise<void> {
  const { id, state, config, cgroupPath, unified } = container.record;
  if (state !== 'created' && state !== 'running')
    throw failedPrecondition(`container ${id} is ${state}: only a created or running container can be updated`);
  checkResources(asked);
  const resources = mergeResources(config.linux?.resources, asked);
  const plan = checkedPlan(context, resources, unified);
  if (state === 'running' && cgroupPath !== '') {
    await changeCgroup(context.cgroups.host, cgroupPath, plan).catch((error: unknown) => {
      throw resourceError(error);
    });
    context.faultPoint('container cgroup changed');
    if (asked.oomScoreAdj !== 0n) await changeOomScore(context, container, asked.oomScoreAdj);
  }
  container.change({ config: { ...config, linux: { ...LinuxContainerConfig.create(config.linux ?? {}), resources } } });
}

/** What the values contradict, and what this host has no such page size or file for, is the request's mistake. */
function checkedPlan({ cgroups }: RuntimeContext, resources: LinuxContainerResources, unified: ContainerRecord['unified']): CgroupPlan {
  try {
    return planCgroup(planResources(resources, unified), cgroups.host);
  } catch (error) {
    throw error instanceof CriError ? error : invalidArgument(renderError(error));
  }
}

let toldOomScore = false;

/** Lowering it takes CAP_SYS_RESOURCE, which the daemon itself may lack: done without, and said once. */
async function changeOomScore({ cgroups, logger }: RuntimeContext, { record }: Container, value: bigint): Promise<void> {
  for (const pid of await readProcs(openCgroup(cgroups.host, record.cgroupPath))) {
    try {
      await fs.promises.writeFile(`/proc/${pid}/oom_score_adj`, String(value));
    } catch (error) {
      if (hasCode(error, 'ENOENT', 'ESRCH')) continue;
      if (!hasCode(error, 'EACCES', 'EPERM')) throw error;
      if (!toldOomScore) logger.warn({ err: error }, 'oom_score_adj of running processes cannot be lowered without CAP_SYS_RESOURCE');
      toldOomScore = true;
    }
  }
}
