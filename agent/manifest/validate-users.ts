// User, group and system call filter: what the security contexts of pods and of containers have in common.
import type { V1PodSecurityContext, V1SecurityContext } from '@kubernetes/client-node';
import type { Report } from './field-problem.ts';
import { checkOneOf } from './syntax.ts';

const idLimit = 2 ** 31 - 1;

function checkId(id: number): string | undefined {
  return id < 0 || id > idLimit ? `${id} is not between 0 and ${idLimit}` : undefined;
}

export function validateUsers(context: V1PodSecurityContext | V1SecurityContext, path: string, report: Report): void {
  if (context.runAsUser !== undefined) report(`${path}.runAsUser`, checkId(context.runAsUser));
  if (context.runAsGroup !== undefined) report(`${path}.runAsGroup`, checkId(context.runAsGroup));
  if ('supplementalGroups' in context) {
    for (const [index, group] of (context.supplementalGroups ?? []).entries())
      report(`${path}.supplementalGroups[${index}]`, checkId(group));
  }
  const { seccompProfile } = context;
  if (seccompProfile)
    report(`${path}.seccompProfile.type`, checkOneOf(seccompProfile.type ?? '', ['RuntimeDefault', 'Unconfined', 'Localhost']));
  const file = seccompProfile?.localhostProfile;
  if (seccompProfile?.type === 'Localhost' && !file)
    report(`${path}.seccompProfile.localhostProfile`, 'type Localhost needs the name of a profile here, below <root-dir>/seccomp');
  else if (file && (file.startsWith('/') || file.split('/').includes('..')))
    report(`${path}.seccompProfile.localhostProfile`, `"${file}" must be a path below <root-dir>/seccomp, without ".."`);
}
