// The contract between images and containers: what the runtime asks of an image store.
import type { Credentials } from '../credentials/docker-config.ts';
import type { PullProgressSource } from './pull-progress.ts';
import type { PushedLayer, PushResult } from './push.ts';

/** What an image says about running it (OCI image-spec config, the part that the runtime uses). */
export interface ImageConfig {
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly env: readonly string[];
  readonly workingDir: string;
  /** As written in the image: "", "1000", "1000:50", "www-data:www-data". */
  readonly user: string;
  readonly stopSignal: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly volumes: readonly string[];
}

export interface Image {
  /** Digest of the image's config: "sha256:<hex>". The one id in every API. */
  readonly id: string;
  /** "docker.io/library/busybox:latest" */
  readonly repoTags: readonly string[];
  /** "docker.io/library/busybox@sha256:<hex>" */
  readonly repoDigests: readonly string[];
  readonly sizeBytes: bigint;
  readonly config: ImageConfig;
  readonly pinned: boolean;
  /** diff IDs, bottom first. */
  readonly diffIds: readonly string[];
}

/** Layer directories of an unpacked image, topmost first: overlayfs' lowerdir order. */
export interface Layers {
  readonly imageId: string;
  readonly lowerDirs: readonly string[];
}

export interface FsUsage {
  readonly mountpoint: string;
  readonly usedBytes: bigint;
  readonly inodesUsed: bigint;
}

/** The writable top of one container over its image's layers. */
export interface Snapshot {
  readonly lowerDirs: readonly string[];
  readonly upperDir: string;
  readonly workDir: string;
  /** To be mounted with the option `volatile`: what a container wrote is worth nothing after the machine has gone down, since it is started anew. */
  readonly isVolatile: boolean;
  /** Layer directories, topmost first, of each image that is a volume, by its reference. */
  readonly volumeDirs: ReadonlyMap<string, readonly string[]>;
}

export interface SnapshotOptions {
  /** Host ids of the writable directories (user namespaces). */
  readonly ownerUid?: number;
  readonly ownerGid?: number;
  /** References of images that are mounted as volumes. */
  readonly volumes?: readonly string[];
}

export interface PrunedImages {
  readonly images: readonly { readonly id: string; readonly references: readonly string[] }[];
  readonly freedBytes: bigint;
}

export interface ImageStore {
  /** Pulls (or, for host images, assembles) a reference and gives the image's id. Concurrent pulls of one reference are one pull. */
  pull(reference: string, options?: { auth?: Credentials; signal?: AbortSignal }): Promise<string>;
  /** How far the pulls are that go on now. */
  readonly pulls: PullProgressSource;
  list(): readonly Image[];
  /** By id, id prefix, tag or digest reference; undefined when absent (no error). Assembles host images at first reference. */
  status(reference: string): Promise<Image | undefined>;
  /** The image's config as it came: OCI image-spec JSON. */
  configDocument(imageId: string): Promise<Buffer>;
  /** Removes every reference of the image; layers stay while a snapshot uses them. Absent is success. */
  remove(reference: string): Promise<void>;
  /** Imports an OCI layout directory, an OCI layout tar or a `docker save` tar; gives the references that it brought. */
  import(path: string): Promise<readonly string[]>;
  /** Assembles a host image from binaries and the shared libraries that they need. */
  buildHost(name: string, binaries: readonly string[]): Promise<string>;
  /** Gives an image a further name, which it takes from whichever image has it; gives the name in its one spelling. */
  tag(reference: string, name: string): Promise<string>;
  /** Takes one name from its image; by id, all of them. The image goes with its last name; gives its id then. Absent is an error. */
  untag(reference: string): Promise<string | undefined>;
  /** Removes unused images without a tag, or with `all` every one that no container uses. Pinned ones stay. */
  prune(all: boolean): Promise<PrunedImages>;
  /** Pushes an image to the tag of a registry. */
  push(
    reference: string,
    target: string,
    options?: { auth?: Credentials; signal?: AbortSignal; onProgress?: (layers: readonly PushedLayer[]) => void },
  ): Promise<PushResult>;
  /** Writes images to a tar file; gives the ids that they have there. */
  export(references: readonly string[], file: string, signal?: AbortSignal): Promise<readonly string[]>;
  /** Bytes of each of an image's layers as they are unpacked, bottom first. */
  layerSizes(imageId: string): readonly number[];
  layers(imageId: string): Layers;
  /** Makes the writable directories of a container, and holds the layers that it needs from now on. Idempotent. */
  prepareSnapshot(containerId: string, imageId: string, options?: SnapshotOptions): Promise<Snapshot>;
  removeSnapshot(containerId: string): Promise<void>;
  snapshotUsage(containerId: string): Promise<FsUsage>;
  /** Where the writable layers of containers lie: beside the images, or in memory. */
  snapshotMountpoint(): string;
  /** Images, and what is on its way to become one; writable layers are not in it. */
  fsUsage(): Promise<FsUsage>;
  /** Removes snapshots and leftovers whose owner is not in `containerIds`. Called once at start. */
  reconcile(containerIds: ReadonlySet<string>): Promise<void>;
  close(): Promise<void>;
}
