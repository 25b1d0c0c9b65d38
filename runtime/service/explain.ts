// Owns the syscall programs that a status tells: planned again from the record, so that they are there after a restart too.

import type { ContainerRecord } from '../container/record.ts';
import { hostLimits } from '../process/host-limits.ts';
import { planContainerProgram } from '../program/container-program.ts';
import { type ExplainedStep, explainProgram } from '../program/explain.ts';
import { planPauseProgram } from '../program/pause-program.ts';
import type { ContainerSpec } from '../program/spec.ts';
import { planPause } from '../sandbox/plan.ts';
import type { SandboxRecord } from '../sandbox/record.ts';

export function explainPause({ config, recordId }: SandboxRecord): readonly ExplainedStep[] {
  return explainProgram(planPauseProgram(planPause(config), { recordId, ...hostLimits() }));
}

export function explainContainer({ recordId }: ContainerRecord, spec: ContainerSpec): readonly ExplainedStep[] {
  return explainProgram(planContainerProgram(spec, { recordId, ...hostLimits() }));
}
