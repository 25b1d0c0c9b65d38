// Owns image garbage collection as the kubelet does it: looks every five minutes, removes over CRI, tells by events and metrics.
import fs from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { V1Pod } from '@kubernetes/client-node';
import type { CriClient } from '../../cri-proto/client.ts';
import type { Image } from '../../cri-proto/gen/api.ts';
import type { Logger } from '../../runtime/logger.ts';
import { describeError } from '../error.ts';
import type { EventLog } from '../event/events.ts';
import {
  bytesToFree,
  type Candidate,
  type Disk,
  detectImages,
  type ImageGcPolicy,
  type ImageUses,
  isNeverNeeded,
  planByAge,
  planForSpace,
} from './gc-plan.ts';

const PERIOD_MS = 5 * 60_000;
const TIMEOUT_MS = 120_000;

export type GcReason = 'age' | 'space';

export interface ImageGcOptions {
  readonly cri: CriClient;
  readonly policy: ImageGcPolicy;
  /** The pods that shall run: what they name is not garbage even while none of their containers exists. */
  readonly pods: () => readonly V1Pod[];
  readonly events: EventLog;
  readonly logger: Logger;
  readonly onRemoved: (reason: GcReason) => void;
  readonly signal: AbortSignal;
  readonly periodMs?: number;
  /** Size of the file system of a directory. */
  readonly statDisk?: (directory: string) => Promise<Disk>;
}

async function statDisk(directory: string): Promise<Disk> {
  const { bsize, blocks, bavail } = await fs.statfs(directory);
  return { capacityBytes: blocks * bsize, availableBytes: bavail * bsize };
}

/** References that a pod's containers and image volumes use. */
export function imagesOfPod({ spec }: V1Pod): readonly string[] {
  const containers = (spec?.containers ?? []).map(({ image }) => image);
  const volumes = (spec?.volumes ?? []).map(({ image }) => image?.reference);
  return [...containers, ...volumes].filter((reference) => reference !== undefined && reference !== '') as string[];
}

/** Runs until the signal; resolves when nothing is under way any more. */
export async function collectImages(options: ImageGcOptions): Promise<void> {
  const { policy, events, logger, signal, periodMs = PERIOD_MS } = options;
  if (isNeverNeeded(policy)) return;
  const collector = new Collector(options);
  let failed = false;
  while (!signal.aborted) {
    try {
      await collector.collect();
      failed = false;
    } catch (error) {
      if (signal.aborted) break;
      const message = describeError(error);
      // Once may be a runtime that has only just started.
      if (failed) events.record({ type: 'Warning', reason: 'ImageGCFailed', message });
      else logger.warn({}, `image garbage collection: ${message}`);
      failed = true;
    }
    await delay(periodMs, undefined, { signal, ref: false }).catch(() => undefined);
  }
}

class Collector {
  readonly #options: ImageGcOptions;
  readonly #beganMs = Date.now();
  #uses: ImageUses | undefined;

  constructor(options: ImageGcOptions) {
    this.#options = options;
  }

  async collect(): Promise<void> {
    const { cri, policy } = this.#options;
    const nowMs = Date.now();
    const { images } = await cri.image.listImages({}, { timeoutMs: TIMEOUT_MS });
    const inUse = await this.#inUse(images);
    const present = images.map(({ id, size, pinned }) => ({ id, sizeBytes: Number(size), pinned }));
    this.#uses = detectImages(this.#uses ?? new Map(), present, inUse, { nowMs, first: this.#uses === undefined });
    const input = () => ({ uses: this.#uses ?? new Map(), inUse, nowMs, beganMs: this.#beganMs, policy });
    await this.#remove(planByAge(input()), 'age', Number.POSITIVE_INFINITY);
    const wanted = bytesToFree(await this.#disk(), policy);
    if (wanted === undefined) return;
    this.#options.logger.info({ wanted }, `the disk of images is over ${policy.highThresholdPercent} % full: unused images are removed`);
    const freed = await this.#remove(planForSpace(input()), 'space', wanted);
    if (freed >= wanted) return;
    const message = `Failed to garbage collect required amount of images. Attempted to free ${wanted} bytes, but only found ${freed} bytes eligible to free.`;
    this.#options.events.record({ type: 'Warning', reason: 'FreeDiskSpaceFailed', message });
    throw new Error(message);
  }

  /** Ids of images that a container has, in any state, or that a pod is about to need. */
  async #inUse(images: readonly Image[]): Promise<ReadonlySet<string>> {
    const { cri, pods } = this.#options;
    const { containers } = await cri.runtime.listContainers({}, { timeoutMs: TIMEOUT_MS });
    const named = new Set(containers.flatMap(({ imageId, imageRef, image }) => [imageId, imageRef, image?.image ?? '']));
    const used = new Set(
      images
        .filter(({ id, repoTags, repoDigests }) => [id, ...repoTags, ...repoDigests].some((name) => named.has(name)))
        .map(({ id }) => id),
    );
    for (const reference of new Set(pods().flatMap(imagesOfPod))) {
      const { image } = await cri.image
        .imageStatus({ image: { image: reference } }, { timeoutMs: TIMEOUT_MS })
        .catch(() => ({ image: undefined }));
      if (image !== undefined) used.add(image.id);
    }
    return used;
  }

  async #disk(): Promise<Disk> {
    const { cri, events } = this.#options;
    const { imageFilesystems } = await cri.image.imageFsInfo({}, { timeoutMs: TIMEOUT_MS });
    const mountpoint = imageFilesystems[0]?.fsId?.mountpoint;
    if (mountpoint === undefined) throw new Error('the container runtime does not tell where its images are');
    const disk = await (this.#options.statDisk ?? statDisk)(mountpoint);
    if (disk.capacityBytes > 0) return disk;
    const message = `invalid capacity ${disk.capacityBytes} on image filesystem`;
    events.record({ type: 'Warning', reason: 'InvalidDiskCapacity', message });
    throw new Error(message);
  }

  /** Removes one after the other until enough is free; gives how much that was. One that cannot be removed costs the others nothing. */
  async #remove(candidates: readonly Candidate[], reason: GcReason, wantedBytes: number): Promise<number> {
    const { cri, logger, onRemoved, signal } = this.#options;
    let freed = 0;
    const failures: unknown[] = [];
    for (const { id, sizeBytes } of candidates) {
      if (freed >= wantedBytes || signal.aborted) break;
      try {
        await cri.image.removeImage({ image: { image: id } }, { timeoutMs: TIMEOUT_MS });
      } catch (error) {
        failures.push(error);
        continue;
      }
      freed += sizeBytes;
      this.#uses = new Map([...(this.#uses ?? [])].filter(([other]) => other !== id));
      onRemoved(reason);
      logger.info({ image: id, bytes: sizeBytes }, `removed an unused image (${reason === 'age' ? 'too long unused' : 'space is short'})`);
    }
    if (failures.length === 0) return freed;
    const wanted = Number.isFinite(wantedBytes)
      ? `wanted to free ${wantedBytes} bytes, but freed ${freed} bytes space`
      : 'remove old images';
    throw new Error(`${wanted} with errors in image deletion: ${failures.map(describeError).join('; ')}`);
  }
}
