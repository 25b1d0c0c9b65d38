// Owns what a container's request is taken to mean when it is created, beyond its own text: user, profiles, devices for I/O limits. Kept in
// the record, so that a change of the image's passwd, of a profile's file or of the host alters no later start or exec.
import type { PodSandboxConfig } from '../../cri-proto/gen/api.ts';
import type { CgroupHost } from '../cgroup/cgroup.ts';
import { planCgroup } from '../cgroup/plan.ts';
import { hasCriCode, invalidArgument } from '../errors.ts';
import type { Image, Snapshot } from '../image/store.ts';
import { planIoMax, planIoWeight, planRlimits } from './annotations.ts';
import { appArmorHost, ensureAppArmorProfile, planAppArmorProfile } from './apparmor.ts';
import { findIoMax } from './block-devices.ts';
import type { ContainerRecord } from './record.ts';
import { planResources } from './resources.ts';
import { planSeccomp, readSeccompProfile } from './seccomp.ts';
import { findIdentity } from './user.ts';

type Resolved = Pick<ContainerRecord, 'user' | 'seccompProfile' | 'apparmorProfile' | 'unified'>;

export async function resolveContainer(
  { config }: ContainerRecord,
  sandbox: PodSandboxConfig,
  { image, snapshot, host }: { image: Image; snapshot: Snapshot; host: CgroupHost },
): Promise<Partial<Resolved>> {
  const security = config.linux?.securityContext;
  const seccompProfile = await readSeccompProfile(security);
  const apparmorProfile = planAppArmorProfile(security, appArmorHost());
  await ensureAppArmorProfile(apparmorProfile);
  planRlimits(config, sandbox);
  const unified = await findUnified(config, sandbox, snapshot.upperDir);
  checkResources({ ...config, unified }, host);
  // Compiled once now: what is wrong with a profile is told by create.
  planSeccomp(security, seccompProfile)([]);
  return {
    user: await findIdentity(security, image.config.user, [snapshot.upperDir, ...snapshot.lowerDirs]),
    ...(seccompProfile === undefined ? {} : { seccompProfile }),
    ...(apparmorProfile === undefined ? {} : { apparmorProfile }),
    ...(Object.keys(unified).length === 0 ? {} : { unified }),
  };
}

/** The cgroup2 files that annotations ask for. `upperDir`: what the container writes. */
export async function findUnified(
  config: ContainerRecord['config'],
  sandbox: PodSandboxConfig,
  upperDir: string,
): Promise<NonNullable<ContainerRecord['unified']>> {
  const io = planIoMax(config, sandbox);
  const weight = planIoWeight(config, sandbox);
  const sources = config.mounts.map(({ hostPath }) => hostPath).filter((hostPath) => hostPath !== '');
  return {
    ...(io.length === 0 ? {} : { 'io.max': await findIoMax(io, [upperDir, ...sources]) }),
    ...(weight === undefined ? {} : { 'io.weight': weight }),
  };
}

function checkResources(
  { linux, unified }: { linux?: ContainerRecord['config']['linux']; unified: Readonly<Record<string, string>> },
  host: CgroupHost,
) {
  try {
    planCgroup(planResources(linux?.resources, unified), host);
  } catch (error) {
    throw hasCriCode(error, 'INVALID_ARGUMENT') ? error : invalidArgument('resources', error);
  }
}
