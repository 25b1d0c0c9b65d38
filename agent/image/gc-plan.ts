// Owns the decision which images go: the kubelet's rules for age and for space, least recently used first. Pure; gc.ts carries it out.

/** What is known of an image over time. The runtime does not tell when one was used: whoever looks often enough knows. */
export interface ImageUse {
  /** 0: it was there before this agent. */
  readonly firstDetectedMs: number;
  /** 0: not used since this agent looks. */
  readonly lastUsedMs: number;
  readonly sizeBytes: number;
  readonly pinned: boolean;
}

export type ImageUses = ReadonlyMap<string, ImageUse>;

export interface PresentImage {
  readonly id: string;
  readonly sizeBytes: number;
  readonly pinned: boolean;
}

export interface ImageGcPolicy {
  /** Per cent of the file system's size: images go from `high` on, until `low` is reached. high 100: never for space. */
  readonly highThresholdPercent: number;
  readonly lowThresholdPercent: number;
  /** An image younger than this is spared: its container may be about to start. */
  readonly minimumAgeMs: number;
  /** Unused for longer than this: it goes, however much space there is. 0: never. */
  readonly maximumAgeMs: number;
}

export const DEFAULT_IMAGE_GC: ImageGcPolicy = {
  highThresholdPercent: 85,
  lowThresholdPercent: 80,
  minimumAgeMs: 120_000,
  maximumAgeMs: 0,
};

/** The sentence of what is wrong with a policy, in the flags' words. */
export function policyProblem({
  highThresholdPercent: high,
  lowThresholdPercent: low,
  minimumAgeMs,
  maximumAgeMs,
}: ImageGcPolicy): string | undefined {
  if (low >= high) return `--image-gc-low-threshold ${low} must be lower than --image-gc-high-threshold ${high}`;
  if (maximumAgeMs > 0 && maximumAgeMs <= minimumAgeMs) return 'imageMaximumGCAge must be longer than imageMinimumGCAge';
  return undefined;
}

export function isNeverNeeded({ highThresholdPercent, maximumAgeMs }: ImageGcPolicy): boolean {
  return highThresholdPercent === 100 && maximumAgeMs === 0;
}

/** What is known after a look: new ones are noted, those in use were used now, those that are gone are forgotten. */
export function detectImages(
  uses: ImageUses,
  present: readonly PresentImage[],
  inUse: ReadonlySet<string>,
  { nowMs, first }: { readonly nowMs: number; readonly first: boolean },
): ImageUses {
  return new Map(
    present.map(({ id, sizeBytes, pinned }) => {
      const before = uses.get(id);
      const lastUsedMs = inUse.has(id) ? nowMs : (before?.lastUsedMs ?? 0);
      return [id, { firstDetectedMs: before?.firstDetectedMs ?? (first ? 0 : nowMs), lastUsedMs, sizeBytes, pinned }];
    }),
  );
}

export interface Candidate {
  readonly id: string;
  readonly sizeBytes: number;
}

export interface GcInput {
  readonly uses: ImageUses;
  readonly inUse: ReadonlySet<string>;
  readonly nowMs: number;
  /** When this agent began to look: nothing is too old before it has looked for that long. */
  readonly beganMs: number;
  readonly policy: ImageGcPolicy;
}

function evictable({ uses, inUse }: GcInput): [string, ImageUse][] {
  return [...uses]
    .filter(([id, { pinned }]) => !pinned && !inUse.has(id))
    .sort(([, a], [, b]) => a.lastUsedMs - b.lastUsedMs || a.firstDetectedMs - b.firstDetectedMs);
}

const candidate = ([id, { sizeBytes }]: [string, ImageUse]): Candidate => ({ id, sizeBytes });

/** Images that nobody used for too long. */
export function planByAge(input: GcInput): Candidate[] {
  const { policy, nowMs, beganMs } = input;
  if (policy.maximumAgeMs === 0 || nowMs - beganMs <= policy.maximumAgeMs) return [];
  return evictable(input)
    .filter(([, { lastUsedMs }]) => nowMs - lastUsedMs > policy.maximumAgeMs)
    .map(candidate);
}

export interface Disk {
  readonly capacityBytes: number;
  readonly availableBytes: number;
}

/** How much must become free; undefined below the high threshold. */
export function bytesToFree({ capacityBytes, availableBytes }: Disk, policy: ImageGcPolicy): number | undefined {
  const available = Math.min(availableBytes, capacityBytes);
  const usedPercent = 100 - Math.floor((available * 100) / capacityBytes);
  if (usedPercent < policy.highThresholdPercent || policy.highThresholdPercent === 100) return undefined;
  return Math.floor((capacityBytes * (100 - policy.lowThresholdPercent)) / 100) - available;
}

/** Images that may go for space, in the order in which they go. */
export function planForSpace(input: GcInput): Candidate[] {
  const { nowMs, policy } = input;
  return evictable(input)
    .filter(([, { firstDetectedMs }]) => nowMs - firstDetectedMs >= policy.minimumAgeMs)
    .map(candidate);
}
