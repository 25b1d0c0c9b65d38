// Owns digests: their grammar, their computation, and the chain IDs of a list of layers (OCI image-spec, "Layer ChainID").
import { createHash, type Hash } from 'node:crypto';

const hexLength: Readonly<Record<string, number>> = { sha256: 64, sha512: 128 };

/** True for "sha256:<64 hex>" and "sha512:<128 hex>". */
export function isDigest(text: string): boolean {
  const colon = text.indexOf(':');
  return hexLength[text.slice(0, colon)] === text.length - colon - 1 && /^[0-9a-f]+$/.test(text.slice(colon + 1));
}

/** A running hash of the algorithm that `digest` names. */
export function hashFor(digest: string): Hash {
  return createHash(digest.slice(0, digest.indexOf(':')));
}

export function finishDigest(hash: Hash, algorithm = 'sha256'): string {
  return `${algorithm}:${hash.digest('hex')}`;
}

/** The digest of bytes, by the algorithm of `like` (sha256 without it). */
export function digestOf(bytes: Uint8Array | string, like = 'sha256:'): string {
  const algorithm = like.slice(0, like.indexOf(':'));
  return finishDigest(createHash(algorithm).update(bytes), algorithm);
}

/** The chain ID of every layer, bottom first: it names a layer together with all layers below it. */
export function chainIds(diffIds: readonly string[]): string[] {
  const chain: string[] = [];
  for (const diffId of diffIds) {
    const below = chain.at(-1);
    chain.push(below === undefined ? diffId : digestOf(`${below} ${diffId}`));
  }
  return chain;
}
