// Owns an explained start as text. Pure: phases with their times, cgroup files, steps with the YAML field that is responsible.
import type { ExplainedStart, ExplainedStep } from './runtime-half.ts';

export interface ExplainedContainer extends Partial<ExplainedStart> {
  readonly name: string;
  readonly state?: string;
  /** Milliseconds per phase of create and start. */
  readonly phases?: Readonly<Record<string, number>>;
}

export interface ExplainedPod {
  readonly namespace: string;
  readonly pod: string;
  readonly sandbox?: ExplainedStart;
  readonly containers: readonly ExplainedContainer[];
}

/** What an api.proto field is called in a Pod. */
const YAML_FIELDS: Readonly<Record<string, string>> = {
  image: 'image',
  command: 'command, args',
  working_dir: 'workingDir',
  hostname: 'hostname, metadata.name',
  'linux.sysctls': 'securityContext.sysctls of the pod',
  'linux.cgroup_parent': 'resources of the pod',
  'linux.resources.oom_score_adj': 'the QoS class by resources',
  'linux.security_context.namespace_options': 'hostNetwork, hostPID, hostIPC, shareProcessNamespace',
  'linux.security_context.capabilities': 'securityContext.capabilities',
  'linux.security_context.run_as_user': 'securityContext.runAsUser',
  'linux.security_context.run_as_group': 'securityContext.runAsGroup',
  'linux.security_context.supplemental_groups': 'securityContext.supplementalGroups, fsGroup',
  'linux.security_context.no_new_privs': 'securityContext.allowPrivilegeEscalation',
  'linux.security_context.seccomp': 'securityContext.seccompProfile',
  'linux.security_context.readonly_rootfs': 'securityContext.readOnlyRootFilesystem',
  'linux.security_context.masked_paths': 'securityContext.procMount, privileged',
  'linux.security_context.readonly_paths': 'securityContext.procMount, privileged',
};

/** resources by the files that they become, on either cgroup version. */
const CGROUP_FIELDS: readonly (readonly [RegExp, string])[] = [
  [/^memory\.(max|limit_in_bytes|memsw\.limit_in_bytes|swap\.max)$/, 'resources.limits.memory'],
  [/^memory\.(min|low|high)$/, 'resources.requests.memory'],
  [/^cpu\.(max|cfs_quota_us|cfs_period_us)$/, 'resources.limits.cpu'],
  [/^cpu\.(weight|shares)$/, 'resources.requests.cpu'],
  [/^hugetlb/, 'resources.limits.hugepages'],
];

function yamlField(field: string): string {
  const mount = /^mounts (.*)$/.exec(field)?.[1];
  if (mount !== undefined) return mount === '/etc/hosts' ? 'hostAliases, hostname' : `volumeMounts, at ${mount}`;
  return YAML_FIELDS[field] ?? field;
}

const CALL_WIDTH = 72;
/** So many steps alike are told as one. */
const ALIKE = 4;

interface Line {
  readonly numbers: string;
  readonly call: string;
  readonly words: string;
}

function lineOf({ number, call, note, field }: ExplainedStep, times = 1): Line {
  const words = [field === undefined ? '' : `[${yamlField(field)}]`, note ?? ''].filter((part) => part !== '').join(' ');
  return { numbers: times === 1 ? String(number) : `${number}…`, call: times === 1 ? call : `${call}   ${times} times`, words };
}

/** Two steps are alike when they differ in one argument only. */
function isAlike(a: ExplainedStep, b: ExplainedStep): boolean {
  const split = ({ call }: ExplainedStep) => call.split(/[(,]/);
  const [left, right] = [split(a), split(b)];
  return a.phase === b.phase && left.length === right.length && left.filter((part, at) => part !== right[at]).length === 1;
}

/** `prctl(PR_CAPBSET_DROP, CAP_A)` … `prctl(PR_CAPBSET_DROP, CAP_Z)` becomes `prctl(PR_CAPBSET_DROP, CAP_A … CAP_Z)   27 times`. */
function mergeAlike(steps: readonly ExplainedStep[]): Line[] {
  const lines: Line[] = [];
  for (let at = 0; at < steps.length; ) {
    const first = steps[at]!;
    let end = at + 1;
    while (end < steps.length && isAlike(steps[end]!, first) && isAlike(steps[end]!, steps[end - 1]!)) end++;
    const times = end - at;
    if (times >= ALIKE) {
      const last = steps[end - 1]!.call.split(/([(,)])/);
      const call = first.call.split(/([(,)])/).map((part, index) => (part === last[index] ? part : `${part} …${last[index]}`));
      lines.push(lineOf({ ...first, call: call.join('') }, times));
      at = end;
    } else lines.push(lineOf(steps[at++]!));
  }
  return lines;
}

function renderSteps(steps: readonly ExplainedStep[]): string {
  const phases = Map.groupBy(
    steps.map((step, at) => ({ step, section: at })),
    ({ section }) => sectionOf(steps, section),
  );
  return [...phases.values()]
    .map((members) => {
      const lines = mergeAlike(members.map(({ step }) => step)).map(({ numbers, call, words }) =>
        `    ${numbers.padStart(4)}  ${words === '' ? call : `${call.padEnd(CALL_WIDTH)}  # ${words}`}`.trimEnd(),
      );
      return `  ${members[0]!.step.phase}\n${lines.join('\n')}\n`;
    })
    .join('');
}

/** Where the run of steps of one phase begins: a phase may come twice. */
function sectionOf(steps: readonly ExplainedStep[], at: number): number {
  let start = at;
  while (start > 0 && steps[start - 1]!.phase === steps[at]!.phase) start--;
  return start;
}

function renderCgroup({ cgroup }: Partial<ExplainedStart>): string {
  if (cgroup === undefined) return '';
  const writes = cgroup.writes.map(({ file, value }) => {
    const field = CGROUP_FIELDS.find(([pattern]) => pattern.test(file))?.[1];
    return `    ${`${file} = ${value}`.padEnd(CALL_WIDTH + 6)}${field === undefined ? '' : `  # [${field}]`}`.trimEnd();
  });
  const lost = cgroup.unexpressed.map(({ intent, reason }) => `    not on this machine: ${intent} (${reason})`);
  return `  cgroup ${cgroup.path}\n${[...writes, ...lost].map((line) => `${line}\n`).join('')}`;
}

/** With every digit of 64-bit limits. */
export function exactJson(value: unknown): string {
  const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown };
  return JSON.stringify(value, (_key, part: unknown) => (typeof part === 'bigint' ? rawJSON(String(part)) : part), 2);
}

/** What runs in the container then is the external runtime's doing: its input is all that there is to tell. */
function renderBundle({ oci }: Partial<ExplainedStart>): string {
  if (oci === undefined) return '';
  return `  ${oci.bundle}/config.json, which ${oci.runtime} executes\n${exactJson(oci.config).replaceAll(/^/gm, '    ')}\n`;
}

function renderPhases(phases: Readonly<Record<string, number>> | undefined): string {
  const entries = Object.entries(phases ?? {});
  if (entries.length === 0) return '';
  const sum = entries.reduce((total, [, ms]) => total + ms, 0);
  return `, made in ${sum.toFixed(1)} ms (${entries.map(([phase, ms]) => `${phase} ${ms.toFixed(1)}`).join(', ')})`;
}

export function renderExplainedPod({ namespace, pod, sandbox, containers }: ExplainedPod): string {
  const parts = [
    sandbox === undefined
      ? ''
      : `sandbox of pod ${namespace}/${pod}: a pause process holds what its containers share\n${renderSteps(sandbox.steps)}`,
    ...containers.map((container) => {
      const head = `container ${container.name}${container.state === undefined ? '' : `, ${container.state}`}${renderPhases(container.phases)}\n`;
      const steps = container.steps === undefined ? '  the runtime tells no steps\n' : renderSteps(container.steps);
      return `${head}${renderCgroup(container)}${steps}${renderBundle(container)}`;
    }),
  ];
  return parts.filter((part) => part !== '').join('\n');
}
