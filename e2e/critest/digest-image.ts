// The image that critest pulls by digest. The bytes behind the digest in its source are not to be had offline, so critest is built with
// the digest of this image in its place.
import { digestOf, documentsOf, type Image, layerOf } from './archive.ts';

/** What stands in critest's pkg/validate/consts.go. */
export const ORIGINAL_DIGEST = 'sha256:9700f9a2f5bf2c45f2f605a0bd3bce7cf37420ec9d3ed50ac2758413308766bf';

export function digestImage(): Image {
  return {
    repository: 'k8s-staging-cri-tools/test-image-digest',
    tags: ['latest'],
    format: 'docker',
    layers: [layerOf({ 'test-image-digest': { content: 'pulled by digest\n' } })],
    run: { Cmd: ['/test-image-digest'] },
  };
}

export function localDigest(): string {
  return digestOf(documentsOf(digestImage()).index);
}
