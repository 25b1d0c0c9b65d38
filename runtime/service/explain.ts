// Owns a container's start in words: the cgroup files and the syscall program, each step with the CRI field that is responsible for it.
import type { ContainerConfig, PodSandboxConfig } from '../../cri-proto/gen/api.ts';
import type { CgroupHost, CgroupWrite, Unexpressed } from '../cgroup/cgroup.ts';
import { detectCgroupHost } from '../cgroup/host.ts';
import { planCgroup } from '../cgroup/plan.ts';
import type { Restore } from '../checkpoint/restore.ts';
import type { ContainerRecord } from '../container/record.ts';
import { planResources } from '../container/resources.ts';
import type { OciCreate } from '../oci/bundle.ts';
import type { OciSpec } from '../oci/types.ts';
import { hostLimits } from '../process/host-limits.ts';
import type { Program } from '../program/builder.ts';
import { type ProgramTarget, planContainerProgram } from '../program/container-program.ts';
import { type ExplainedStep, explainProgram } from '../program/explain.ts';
import { planOciProgram } from '../program/oci-program.ts';
import { planPauseProgram } from '../program/pause-program.ts';
import { planRestoreProgram } from '../program/restore-program.ts';
import type { ContainerSpec } from '../program/spec.ts';
import { planPause } from '../sandbox/plan.ts';
import type { SandboxRecord } from '../sandbox/record.ts';
import { fieldOf } from './step-field.ts';

export interface StepWithField extends ExplainedStep {
  /** As api.proto names it: "linux.security_context.capabilities". */
  readonly field?: string;
}

export interface ExplainedCgroup {
  readonly path: string;
  readonly writes: readonly CgroupWrite[];
  /** What this host cannot express, and why. */
  readonly unexpressed: readonly Unexpressed[];
}

export interface ExplainedStart {
  /** Of our own programs: with an external OCI runtime those of its container's shim. */
  readonly steps: readonly StepWithField[];
  /** What the external OCI runtime is given, if there is one. */
  readonly oci?: OciStartInWords;
  readonly cgroup?: ExplainedCgroup;
}

export interface OciStartInWords {
  readonly runtime: string;
  /** Where config.json is while the container runs. */
  readonly bundle: string;
  readonly config: OciSpec;
}

function withFields(steps: readonly ExplainedStep[], config: ContainerConfig | undefined): readonly StepWithField[] {
  return steps.map((step) => {
    const field = fieldOf(step, config);
    return field === undefined ? step : { ...step, field };
  });
}

export function explainSandboxConfig(config: PodSandboxConfig, target: ProgramTarget): ExplainedStart {
  return { steps: withFields(explainProgram(planPauseProgram(planPause(config), target)), undefined) };
}

export interface ContainerStart {
  readonly config: ContainerConfig;
  readonly spec: ContainerSpec;
  /** cgroup2 files that annotations ask for. */
  readonly unified?: ContainerRecord['unified'];
  /** Empty without cgroups. */
  readonly cgroupPath: string;
  readonly host: CgroupHost;
  readonly target: ProgramTarget;
  /** Given when an external OCI runtime makes the container. */
  readonly oci?: { readonly create: OciCreate; readonly config: OciSpec } | undefined;
  /** Given when it starts from a checkpoint. */
  readonly restore?: Restore | undefined;
}

function planStart({ spec, target, oci, restore }: ContainerStart): Program {
  const ignoredSignals = target.ignoredSignals ?? [];
  if (oci !== undefined) return planOciProgram({ ...oci.create, ...target, ignoredSignals });
  return restore === undefined ? planContainerProgram(spec, target) : planRestoreProgram({ ...restore, ...target, ignoredSignals });
}

export function explainContainerStart(container: ContainerStart): ExplainedStart {
  const { config, unified, cgroupPath, host, oci } = container;
  const program = planStart(container);
  const start = {
    steps: withFields(explainProgram(program), config),
    ...(oci === undefined ? {} : { oci: { runtime: oci.create.argv[0] ?? '', bundle: oci.create.bundle, config: oci.config } }),
  };
  if (cgroupPath === '') return start;
  const { writes, unexpressed } = planCgroup(planResources(config.linux?.resources, unified), host);
  return { cgroup: { path: cgroupPath, writes, unexpressed }, ...start };
}

export function explainPause({ config, recordId }: SandboxRecord): ExplainedStart {
  return explainSandboxConfig(config, { recordId, ...hostLimits() });
}

export function explainContainer(
  { config, cgroupPath, recordId, unified }: ContainerRecord,
  spec: ContainerSpec,
  { oci, restore }: Pick<ContainerStart, 'oci' | 'restore'>,
): ExplainedStart {
  const start = { config, spec, cgroupPath, host: detectCgroupHost(), target: { recordId, ...hostLimits() }, oci, restore };
  return explainContainerStart(unified === undefined ? start : { ...start, unified });
}
