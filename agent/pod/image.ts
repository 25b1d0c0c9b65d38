// Owns getting one container's image into the runtime by its pull policy, in the kubelet's words.
import type { V1Container } from '@kubernetes/client-node';
import { CriCallError, type CriClient } from '../../cri-proto/client.ts';
import type { Image } from '../../cri-proto/gen/api.ts';
import { renderDurationMs } from '../config/duration.ts';
import type { ImageUser } from './security.ts';

export interface PresentImage {
  readonly id: string;
  readonly user: ImageUser;
}

/** reason: ErrImagePull, ErrImageNeverPull, InvalidImageName, ImageInspectError, RegistryUnavailable. */
export class ImageProblem extends Error {
  override readonly name = 'ImageProblem';
  readonly reason: string;

  constructor(reason: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.reason = reason;
  }
}

const STATUS_TIMEOUT_MS = 120_000;

export interface ImageOptions {
  readonly tell: (reason: string, message: string) => void;
  /** Goes around the pull, to follow it. */
  readonly track: <T>(image: string, pull: () => Promise<T>) => Promise<T>;
  readonly onPulled: (durationMs: number, sizeBytes: number) => void;
  /** Ends a pull whose pod is no longer wanted. */
  readonly signal: AbortSignal;
}

/** An image, and when it is pulled anew: what a container and an image volume have in common. */
export type WantedImage = Pick<V1Container, 'image' | 'imagePullPolicy'>;

export async function ensureImage(
  cri: CriClient,
  container: WantedImage,
  { tell, track, onPulled, signal }: ImageOptions,
): Promise<PresentImage> {
  const reference = container.image ?? '';
  const policy = container.imagePullPolicy ?? 'IfNotPresent';
  if (policy !== 'Always') {
    const present = await inspect(cri, reference);
    if (present !== undefined) {
      tell('Pulled', `Container image "${reference}" already present on machine`);
      return present;
    }
    if (policy === 'Never')
      throw new ImageProblem('ErrImageNeverPull', `container image "${reference}" is not present with pull policy of Never`);
  }
  tell('Pulling', `Pulling image "${reference}"`);
  const startedMs = Date.now();
  let imageRef: string;
  try {
    const image = { image: reference, userSpecifiedImage: reference };
    ({ imageRef } = await track(reference, () => cri.image.pullImage({ image }, { signal })));
  } catch (error) {
    throw pullProblem(reference, error);
  }
  const durationMs = Date.now() - startedMs;
  const pulled = await inspect(cri, imageRef);
  if (pulled === undefined) throw new ImageProblem('ImageInspectError', `image "${reference}" was pulled as ${imageRef} and is not there`);
  const took = renderDurationMs(durationMs);
  tell('Pulled', `Successfully pulled image "${reference}" in ${took} (${took} including waiting). Image size: ${pulled.size} bytes.`);
  onPulled(durationMs, Number(pulled.size));
  return pulled;
}

async function inspect(cri: CriClient, reference: string): Promise<(PresentImage & { size: bigint }) | undefined> {
  try {
    const { image } = await cri.image.imageStatus({ image: { image: reference } }, { timeoutMs: STATUS_TIMEOUT_MS });
    return image === undefined ? undefined : { id: image.id, user: userOf(image), size: image.size };
  } catch (error) {
    if (error instanceof CriCallError && error.code === 'INVALID_ARGUMENT')
      throw new ImageProblem('InvalidImageName', `image name "${reference}" is not valid`, error);
    throw new ImageProblem('ImageInspectError', `inspect image "${reference}"`, error);
  }
}

const userOf = ({ uid, username }: Image): ImageUser => ({ username, ...(uid === undefined ? {} : { uid: uid.value }) });

function pullProblem(reference: string, error: unknown): ImageProblem {
  const message = `pull image "${reference}"`;
  if (error instanceof CriCallError && error.code === 'INVALID_ARGUMENT')
    return new ImageProblem('InvalidImageName', `image name "${reference}" is not valid`, error);
  // Runtimes say these two as the first word of their message.
  const named = error instanceof Error ? /\b(RegistryUnavailable|SignatureValidationFailed)\b/.exec(error.message)?.[1] : undefined;
  return new ImageProblem(named ?? 'ErrImagePull', message, error);
}
