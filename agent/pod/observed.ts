// What the runtime and the disk say about one pod, in the shape that the planner reads. Pure: conversion from CRI messages only.
import {
  type ContainerStatus,
  ContainerState as CriContainerState,
  PodSandboxState as CriSandboxState,
  type PodSandboxStatus,
} from '../../cri-proto/gen/api.ts';
import type { PodRecord } from '../status/record.ts';
import * as labels from './labels.ts';

export interface ObservedSandbox {
  readonly id: string;
  readonly attempt: number;
  readonly ready: boolean;
  readonly createdAtMs: number;
  /** Primary first; empty with the host's network or once stopped. */
  readonly ips: readonly string[];
  /** DesiredPod.hash of the pod that it was made for. */
  readonly hash: string;
}

export type ContainerState = 'created' | 'running' | 'exited' | 'unknown';

export interface ObservedContainer {
  readonly id: string;
  readonly sandboxId: string;
  readonly name: string;
  readonly restartCount: number;
  readonly backoffStep: number;
  /** Of the pod that it was made for: a replaced pod ends with its own grace period. */
  readonly graceSeconds: number;
  readonly state: ContainerState;
  readonly createdAtMs: number;
  readonly startedAtMs: number;
  readonly finishedAtMs: number;
  readonly exitCode: number;
  readonly reason: string;
  readonly message: string;
  readonly image: string;
  readonly imageRef: string;
  readonly imageId: string;
}

export interface ObservedPod {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  /** Newest first. */
  readonly sandboxes: readonly ObservedSandbox[];
  /** Newest first. */
  readonly containers: readonly ObservedContainer[];
  /** Whether the pod has a directory, and what the agent noted in it. */
  readonly directory: boolean;
  readonly record?: PodRecord;
}

const NS_PER_MS = 1_000_000n;
const ms = (nanoseconds: bigint) => Number(nanoseconds / NS_PER_MS);

const STATES: Readonly<Record<number, ContainerState>> = {
  [CriContainerState.CONTAINER_CREATED]: 'created',
  [CriContainerState.CONTAINER_RUNNING]: 'running',
  [CriContainerState.CONTAINER_EXITED]: 'exited',
  [CriContainerState.CONTAINER_UNKNOWN]: 'unknown',
};

function count(text: string | undefined, otherwise: number): number {
  const value = Number(text ?? Number.NaN);
  return Number.isSafeInteger(value) && value >= 0 ? value : otherwise;
}

export function convertSandbox(status: PodSandboxStatus): ObservedSandbox {
  const { network } = status;
  const ips = network === undefined || network.ip === '' ? [] : [network.ip, ...network.additionalIps.map(({ ip }) => ip)];
  return {
    id: status.id,
    attempt: status.metadata?.attempt ?? 0,
    ready: status.state === CriSandboxState.SANDBOX_READY,
    createdAtMs: ms(status.createdAt),
    ips,
    hash: status.annotations[labels.CONFIG_HASH] ?? '',
  };
}

/** sandboxId comes from the list: ContainerStatus does not carry it. */
export function convertContainer(status: ContainerStatus, sandboxId: string): ObservedContainer {
  const { annotations } = status;
  return {
    id: status.id,
    sandboxId,
    name: status.labels[labels.CONTAINER_NAME] ?? status.metadata?.name ?? '',
    restartCount: count(annotations[labels.RESTART_COUNT], status.metadata?.attempt ?? 0),
    backoffStep: count(annotations[labels.BACKOFF_STEP], 0),
    graceSeconds: count(annotations[labels.GRACE_PERIOD], 30),
    state: STATES[status.state] ?? 'unknown',
    createdAtMs: ms(status.createdAt),
    startedAtMs: ms(status.startedAt),
    finishedAtMs: ms(status.finishedAt),
    exitCode: status.exitCode,
    reason: status.reason,
    message: status.message,
    image: status.image?.image ?? '',
    imageRef: status.imageRef,
    imageId: status.imageId,
  };
}

/** Newest first; the restart count decides between containers of one millisecond. */
export function byAge(a: ObservedContainer, b: ObservedContainer): number {
  return b.createdAtMs - a.createdAtMs || b.restartCount - a.restartCount;
}

/** The newest container of a name; earlier ones are its past. */
export function newestOf(observed: ObservedPod, name: string): ObservedContainer | undefined {
  return observed.containers.find((container) => container.name === name);
}
