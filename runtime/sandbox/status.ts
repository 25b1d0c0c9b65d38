// Owns how a sandbox looks in CRI answers.
import { type PodSandbox, PodSandboxState, type PodSandboxStatus } from '../../cri-proto/gen/api.ts';
import type { SandboxRecord } from './record.ts';

export function criSandboxState(record: SandboxRecord): PodSandboxState {
  return record.state === 'ready' ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY;
}

/** A sandbox that is still being made is not shown: it has never been given to anyone. */
export function isVisible(record: SandboxRecord): boolean {
  return record.state !== 'creating';
}

export function renderSandbox(record: SandboxRecord): PodSandbox {
  const { config } = record;
  return {
    id: record.id,
    metadata: config.metadata,
    state: criSandboxState(record),
    createdAt: record.createdAt,
    labels: config.labels,
    annotations: config.annotations,
    runtimeHandler: record.runtimeHandler,
  };
}

/** Addresses are shown while the sandbox is ready: a stopped one has given them back. */
export function renderSandboxStatus(record: SandboxRecord): PodSandboxStatus {
  const [ip = '', ...additional] = record.state === 'ready' ? record.ips : [];
  return {
    ...renderSandbox(record),
    network: { ip, additionalIps: additional.map((address) => ({ ip: address })) },
    linux: { namespaces: { options: record.config.linux?.securityContext?.namespaceOptions } },
  };
}
