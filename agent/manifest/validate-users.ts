// User, group, system call filter and mandatory access control: what the security contexts of pods and of containers have in common.
import type {
  V1AppArmorProfile,
  V1PodSecurityContext,
  V1SELinuxOptions,
  V1SeccompProfile,
  V1SecurityContext,
} from '@kubernetes/client-node';
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
  validateSeccomp(context.seccompProfile, `${path}.seccompProfile`, report);
  validateAppArmor(context.appArmorProfile, `${path}.appArmorProfile`, report);
  validateSelinux(context.seLinuxOptions, `${path}.seLinuxOptions`, report);
}

interface Profile {
  readonly type?: string;
  readonly localhostProfile?: string;
}

/** Gives the name of a profile of the host, where there is one to look at. `where`: what the name is looked up in. */
function validateProfile({ type = '', localhostProfile: name = '' }: Profile, where: string, path: string, report: Report): string {
  report(`${path}.type`, checkOneOf(type, ['RuntimeDefault', 'Unconfined', 'Localhost']));
  if (type === 'Localhost' && name.trim() === '')
    report(`${path}.localhostProfile`, `type Localhost needs the name of a profile here, ${where}`);
  else if (type !== 'Localhost' && name !== '')
    report(`${path}.localhostProfile`, `only type Localhost has one, and this is ${type}; remove it`);
  else return name;
  return '';
}

function validateSeccomp(profile: V1SeccompProfile | undefined, path: string, report: Report): void {
  if (profile === undefined) return;
  const file = validateProfile(profile, 'below <root-dir>/seccomp', path, report);
  if (file.startsWith('/') || file.split('/').includes('..'))
    report(`${path}.localhostProfile`, `"${file}" must be a path below <root-dir>/seccomp, without ".."`);
}

function validateAppArmor(profile: V1AppArmorProfile | undefined, path: string, report: Report): void {
  if (profile === undefined) return;
  const name = validateProfile(profile, 'of those that the host has loaded', path, report);
  if (name !== name.trim() || name.includes('\n')) report(`${path}.localhostProfile`, `${JSON.stringify(name)} has white space around it`);
}

// What the runtime takes: the parts of a label stand between colons.
const SELINUX: Readonly<Record<keyof V1SELinuxOptions, readonly [form: RegExp, words: string]>> = {
  user: [/^[A-Za-z0-9_.-]*$/, 'a plain name such as system_u'],
  role: [/^[A-Za-z0-9_.-]*$/, 'a plain name such as system_r'],
  type: [/^[A-Za-z0-9_.-]*$/, 'a plain name such as container_t'],
  level: [/^[A-Za-z0-9_.,:-]*$/, 'a level such as s0:c1,c2'],
};

function validateSelinux(options: V1SELinuxOptions | undefined, path: string, report: Report): void {
  for (const [field, [form, words]] of Object.entries(SELINUX)) {
    const text = options?.[field as keyof V1SELinuxOptions] ?? '';
    if (!form.test(text)) report(`${path}.${field}`, `${JSON.stringify(text)} is not ${words}`);
  }
}
