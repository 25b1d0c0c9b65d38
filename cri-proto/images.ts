// What the image commands ask of whoever has the images: a daemon behind its socket, or the store itself where none runs.

export interface TransferLayer {
  readonly digest: string;
  /** 0 while it is not known. */
  readonly totalBytes: number;
  readonly doneBytes: number;
  /** waiting, downloading, unpacking, done, cached; for a push: packing, fetching, uploading, present, mounted. */
  readonly state: string;
}

export interface ImageRow {
  readonly id: string;
  readonly repoTags: readonly string[];
  readonly repoDigests: readonly string[];
  readonly size: bigint;
  readonly pinned: boolean;
}

export interface Credentials {
  readonly username: string;
  readonly password: string;
}

export interface TransferOptions {
  readonly credentials?: Credentials;
  readonly onProgress?: (layers: readonly TransferLayer[]) => void;
}

export interface Pushed {
  readonly reference: string;
  /** Of the manifest. */
  readonly digest: string;
  /** Another one than the image's where its layers had to be packed anew. */
  readonly id: string;
}

export interface Pruned {
  readonly images: readonly { readonly id: string; readonly references: readonly string[] }[];
  readonly freedBytes: bigint;
}

/** What `image` does, over the socket of a daemon or in the store itself. */
export interface Images {
  list(): Promise<readonly ImageRow[]>;
  pull(reference: string, options?: TransferOptions): Promise<string>;
  /** Undefined when there is none of the name; `details` is what the image says about running it. */
  inspect(reference: string): Promise<{ readonly image: ImageRow; readonly details: unknown } | undefined>;
  /** Takes a name from its image, or by id all of them; gives the image's id when that was the last one. */
  untag(reference: string): Promise<string | undefined>;
  tag(reference: string, name: string): Promise<string>;
  prune(all: boolean): Promise<Pruned>;
  push(reference: string, target: string, options?: TransferOptions): Promise<Pushed>;
  /** Gives the ids that the images have in the file. */
  export(references: readonly string[], file: string): Promise<readonly string[]>;
  import(file: string): Promise<readonly string[]>;
  buildHost(name: string, binaries: readonly string[]): Promise<string>;
  close(): Promise<void>;
}
