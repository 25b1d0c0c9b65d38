// Owns which field of a CRI request is responsible for a step of a program, where one is. Pure; the names are those of api.proto.
import type { ContainerConfig } from '../../cri-proto/gen/api.ts';
import type { ExplainedStep } from '../program/explain.ts';

type Rule = readonly [call: RegExp, field: string];

const SECURITY = 'linux.security_context';

const RULES: readonly Rule[] = [
  [/^mount\("overlay"/, 'image'],
  [/oom_score_adj/, 'linux.resources.oom_score_adj'],
  [/^setns\(.*CLONE_NEW(NET|IPC|UTS|PID)/, `${SECURITY}.namespace_options`],
  [/^unshare\(.*CLONE_NEW(NET|IPC|UTS|PID)/, `${SECURITY}.namespace_options`],
  [/clone3\(/, `${SECURITY}.namespace_options`],
  [/cgroup\.procs/, 'linux.cgroup_parent'],
  [/^sethostname/, 'hostname'],
  [/PR_CAPBSET_DROP|PR_CAP_AMBIENT|^capset/, `${SECURITY}.capabilities`],
  [/^setresuid/, `${SECURITY}.run_as_user`],
  [/^setresgid/, `${SECURITY}.run_as_group`],
  [/^setgroups/, `${SECURITY}.supplemental_groups`],
  [/PR_SET_NO_NEW_PRIVS/, `${SECURITY}.no_new_privs`],
  [/^seccomp\(/, `${SECURITY}.seccomp`],
  [/^mount_setattr\(AT_FDCWD, "\/", 0, ro/, `${SECURITY}.readonly_rootfs`],
  [/prlimit64\(/, 'annotations tskubelet.dev/rlimits'],
  [/"\/proc\/sys\/(kernel|net|fs)\//, 'linux.sysctls'],
  [/execve\(/, 'command'],
];

const quoted = (path: string) => JSON.stringify(path);

/** A mount of the request: its source is taken, its target made, the one attached to the other. */
function mountOf(config: ContainerConfig, call: string): string | undefined {
  const taken = config.mounts.find(
    ({ hostPath, containerPath }) =>
      call.includes(quoted(containerPath)) ||
      // An image volume has no host path, and "" is an argument of many calls.
      (hostPath !== '' && (call.includes(quoted(hostPath)) || call.includes(`$${hostPath},`))),
  );
  return taken === undefined ? undefined : `mounts ${taken.containerPath}`;
}

export function fieldOf({ phase, call }: ExplainedStep, config: ContainerConfig | undefined): string | undefined {
  if (config !== undefined && (phase === 'host sources' || phase === 'volumes' || phase === 'root file system')) {
    const mount = mountOf(config, call);
    if (mount !== undefined) return mount;
  }
  const hides = phase === 'hidden paths' && /^(\$\S+ = )?(mount|mount_setattr|move_mount|open_tree)\(/.test(call);
  if (hides && !call.startsWith('mount_setattr(AT_FDCWD, "/",'))
    return / "\/dev\/null"|"tmpfs"|\("\/dev\/null"/.test(call) ? `${SECURITY}.masked_paths` : `${SECURITY}.readonly_paths`;
  if (config?.workingDir && call === `chdir(${quoted(config.workingDir)})`) return 'working_dir';
  return RULES.find(([pattern]) => pattern.test(call))?.[1];
}
