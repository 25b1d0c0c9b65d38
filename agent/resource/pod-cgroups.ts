// Owns the cgroups above the containers: kubepods, the QoS classes and one per pod. Container cgroups are the runtime's.
import path from 'node:path';
import type { V1Pod } from '@kubernetes/client-node';
import { createCgroup, openCgroup, removeCgroup, updateCgroup } from '../../runtime/cgroup/apply.ts';
import type { CgroupHost, Resources } from '../../runtime/cgroup/cgroup.ts';
import { planCgroup } from '../../runtime/cgroup/plan.ts';
import { listCgroups } from '../../runtime/cgroup/root.ts';
import { CPU_PERIOD_US, cpuQuotaUs, cpuShares } from './cpu.ts';
import { computeQosClass, type QosClass, sumResources } from './qos.ts';

const REMOVE_TIMEOUT_MS = 10_000;
const QOS_CLASSES: readonly QosClass[] = ['Guaranteed', 'Burstable', 'BestEffort'];

/** Guaranteed pods stand directly below kubepods. */
function qosPath(root: string, qos: QosClass): string {
  const kubepods = path.posix.join(root, 'kubepods');
  return qos === 'Guaranteed' ? kubepods : path.posix.join(kubepods, qos.toLowerCase());
}

/** /kubepods/burstable/pod<uid>: the CRI cgroup_parent of the pod. */
export function podCgroupPath(root: string, pod: V1Pod): string {
  return path.posix.join(qosPath(root, computeQosClass(pod)), `pod${pod.metadata?.uid}`);
}

/** Limits of the pod as a whole: only what every container is limited in. */
export function planPodResources(pod: V1Pod, podPidsLimit: bigint): Resources {
  const sums = sumResources(pod);
  return {
    cpuShares: cpuShares(sums.requestMilliCpu),
    ...(sums.limitMilliCpu === undefined ? {} : { cpuQuotaUs: cpuQuotaUs(sums.limitMilliCpu), cpuPeriodUs: CPU_PERIOD_US }),
    ...(sums.limitMemoryBytes === undefined ? {} : { memoryLimitBytes: sums.limitMemoryBytes }),
    ...(podPidsLimit > 0n ? { pidsLimit: podPidsLimit } : {}),
  };
}

export interface PodCgroups {
  /** The CRI cgroup_parent: empty when pods run without limits. */
  pathOf(pod: V1Pod): string;
  ensure(pod: V1Pod): Promise<void>;
  /** By UID: the class that the pod had does not matter. Absent is success. */
  remove(uid: string): Promise<void>;
  /** Burstable pods together weigh what they ask for, best-effort pods next to nothing. */
  updateQos(pods: readonly V1Pod[]): Promise<void>;
  /** UIDs that have a cgroup. */
  list(): Promise<readonly string[]>;
  /** Takes kubepods away when no pod is left in it. */
  removeEmpty(): Promise<void>;
}

export interface PodCgroupOptions {
  readonly host: CgroupHost;
  /** --cgroup-root: the cgroup that kubepods stands in. */
  readonly root: string;
  /** Pids of one pod, -1n for no limit. */
  readonly podPidsLimit: bigint;
}

export function createPodCgroups({ host, root, podPidsLimit }: PodCgroupOptions): PodCgroups {
  let burstableShares: bigint | undefined;
  return {
    pathOf: (pod) => podCgroupPath(root, pod),
    async ensure(pod) {
      await createCgroup(host, podCgroupPath(root, pod), planCgroup(planPodResources(pod, podPidsLimit), host));
    },
    async remove(uid) {
      for (const qos of QOS_CLASSES)
        await removeCgroup(openCgroup(host, path.posix.join(qosPath(root, qos), `pod${uid}`)), { timeoutMs: REMOVE_TIMEOUT_MS });
    },
    async updateQos(pods) {
      const burstable = pods.filter((pod) => computeQosClass(pod) === 'Burstable');
      const shares = cpuShares(burstable.reduce((sum, pod) => sum + sumResources(pod).requestMilliCpu, 0n));
      if (shares === burstableShares) return;
      if (burstableShares === undefined)
        await createCgroup(host, qosPath(root, 'BestEffort'), planCgroup({ cpuShares: cpuShares(0n) }, host));
      const plan = planCgroup({ cpuShares: shares }, host);
      await updateCgroup(host, await createCgroup(host, qosPath(root, 'Burstable'), plan), plan);
      burstableShares = shares;
    },
    async list() {
      const found = await Promise.all(QOS_CLASSES.map((qos) => listCgroups(host, qosPath(root, qos))));
      const names = found.flat().map((cgroup) => path.posix.basename(cgroup));
      return [...new Set(names.filter((name) => name.startsWith('pod')).map((name) => name.slice('pod'.length)))];
    },
    async removeEmpty() {
      for (const qos of QOS_CLASSES.toReversed()) {
        const cgroup = qosPath(root, qos);
        if ((await listCgroups(host, cgroup)).length === 0) await removeCgroup(openCgroup(host, cgroup), { timeoutMs: 0 });
      }
      burstableShares = undefined;
    },
  };
}

/** --allow-no-limits on a host without usable cgroups: pods run, nothing of them is limited. */
export const noPodCgroups: PodCgroups = {
  pathOf: () => '',
  ensure: async () => {},
  remove: async () => {},
  updateQos: async () => {},
  list: async () => [],
  removeEmpty: async () => {},
};
