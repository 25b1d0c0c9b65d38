// Owns getting one container's image into the runtime by its pull policy, in the kubelet's words.
import type { V1Container } from '@kubernetes/client-node';
import { CriCallError, type CriClient } from '../../cri-proto/client.ts';
import type { AuthConfig, Image } from '../../cri-proto/gen/api.ts';
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
const CREDENTIALS_LIMIT = 10;

export interface ImageOptions {
  readonly tell: (reason: string, message: string) => void;
  /** Goes around the pull, to follow it. */
  readonly track: <T>(image: string, pull: () => Promise<T>) => Promise<T>;
  readonly onPulled: (durationMs: number, sizeBytes: number) => void;
  /** Ends a pull whose pod is no longer wanted. */
  readonly signal: AbortSignal;
  /** Best first; without any the runtime pulls by what it knows itself. */
  readonly credentialsFor: (image: string) => Promise<readonly Partial<AuthConfig>[]>;
}

/** An image, and when it is pulled anew: what a container and an image volume have in common. */
export type WantedImage = Pick<V1Container, 'image' | 'imagePullPolicy'>;

export async function ensureImage(cri: CriClient, container: WantedImage, options: ImageOptions): Promise<PresentImage> {
  const { tell, track, onPulled } = options;
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
    imageRef = await track(reference, () => pull(cri, reference, options));
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

/** With one set of credentials after the other, since which of them may pull it only the registry knows. */
async function pull(cri: CriClient, reference: string, { signal, credentialsFor }: ImageOptions): Promise<string> {
  const image = { image: reference, userSpecifiedImage: reference };
  const candidates = (await credentialsFor(reference)).slice(0, CREDENTIALS_LIMIT);
  if (candidates.length === 0) return (await cri.image.pullImage({ image }, { signal })).imageRef;
  let refusal: unknown;
  for (const auth of candidates) {
    try {
      return (await cri.image.pullImage({ image, auth }, { signal })).imageRef;
    } catch (error) {
      // Registries hide what one may not see behind "not found"; other runtimes say UNKNOWN for all of it.
      if (!(error instanceof CriCallError && ['PERMISSION_DENIED', 'UNAUTHENTICATED', 'NOT_FOUND', 'UNKNOWN'].includes(error.code)))
        throw error;
      refusal = error;
    }
  }
  throw refusal;
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
