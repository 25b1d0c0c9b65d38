// Owns importing images from files: OCI layout directories (image-spec, image-layout.md), the same as an archive, and what `docker save`
// writes in its old form (manifest.json alone) and its new one (an OCI layout). Archives are unpacked to a directory first, compressed or
// not, with the same distrust as layers.
import fs from 'node:fs';
import path from 'node:path';
import { hasCode } from '../linux/errno.ts';
import { chainIds, digestOf } from './digest.ts';
import { choosePlatform, type Descriptor, parseConfig, parseJson, parseManifest } from './manifest.ts';
import { type ImageParts, type NewImage, unpackLayers, withIngestDir } from './parts.ts';
import { hostArchitecture } from './platform.ts';
import { formatReference, parseReference, repositoryOf } from './reference.ts';
import { resolveInRoot } from './rootfs-file.ts';

const NEITHER = 'it is neither an OCI image layout nor an archive of `docker save` (no index.json and no manifest.json in it)';

/** An image found in the source, with the files of its layers. */
interface FoundImage {
  readonly config: Buffer;
  readonly documents: ReadonlyMap<string, Uint8Array>;
  readonly layers: readonly { readonly file: string; readonly descriptor?: Descriptor }[];
  readonly names: readonly string[];
  /** Digest of the document that a reference by digest means. */
  readonly target?: string;
}

/** Imports everything that `source` holds for this architecture; gives the references, or ids of images without a name. */
export async function importArchive(parts: ImageParts, source: string): Promise<string[]> {
  try {
    const stat = await fs.promises.stat(source);
    if (stat.isDirectory()) return await importDirectory(parts, source, source);
    if (!stat.isFile()) throw new Error('it is neither a file nor a directory');
    return await withIngestDir(parts.ingestDir, async (dir) => {
      await parts.pool.run({ blob: source, target: dir, whiteouts: 'refuse', keepOwners: false });
      return importDirectory(parts, dir, source);
    });
  } catch (cause) {
    if (hasCode(cause, 'ENOENT')) throw new Error(`import ${source}: there is no such file or directory`, { cause });
    throw new Error(`import ${source}`, { cause });
  }
}

async function importDirectory(parts: ImageParts, dir: string, source: string): Promise<string[]> {
  const found = (await readLayout(dir, source)) ?? (await readSave(dir));
  if (found === undefined) throw new Error(NEITHER);
  if (found.length === 0) throw new Error(`it holds no image for linux/${hostArchitecture()}`);
  const references: string[] = [];
  for (const image of found) references.push(...(await importImage(parts, image)));
  return [...new Set(references)];
}

async function importImage(parts: ImageParts, found: FoundImage): Promise<string[]> {
  const { config, diffIds } = parseConfig(found.config);
  const id = digestOf(found.config);
  if (diffIds.length !== found.layers.length) {
    throw new Error(`the image config lists ${diffIds.length} layers and the manifest ${found.layers.length}`);
  }
  const release = parts.layers.lease(chainIds(diffIds));
  try {
    const sizeBytes = await unpackLayers(parts, diffIds, async (index) => {
      const layer = found.layers[index];
      if (layer === undefined) throw new Error(`layer ${index} is missing`);
      const { file, descriptor } = layer;
      return { file, ...(descriptor && { digest: descriptor.digest, sizeBytes: descriptor.sizeBytes }), release: async () => {} };
    });
    const references = found.names.map(parseReference);
    const repoTags = references.filter(({ digest }) => digest === undefined).map(formatReference);
    const repoDigests = found.target === undefined ? [] : references.map((reference) => `${repositoryOf(reference)}@${found.target}`);
    const documents = new Map([...found.documents, [id, found.config]]);
    const image: NewImage = { id, repoTags, repoDigests: [...new Set(repoDigests)], diffIds, sizeBytes, pinned: false, config, documents };
    await parts.commit(image);
    return repoTags.length > 0 ? repoTags : [id];
  } finally {
    release();
  }
}

/** A file of the layout by its path in it; links are followed inside the layout only. */
async function readInside(dir: string, name: string): Promise<Buffer | undefined> {
  const file = resolveInRoot(dir, name);
  if (file === undefined) return undefined;
  const { size } = await fs.promises.stat(file);
  if (size > 64 * 1024 * 1024) throw new Error(`${name} has ${size} bytes, too many for a description of an image`);
  return fs.promises.readFile(file);
}

function blobPath(digest: string): string {
  return `blobs/${digest.replace(':', '/')}`;
}

async function readBlob(dir: string, { digest }: Descriptor, what: string): Promise<Buffer> {
  const bytes = await readInside(dir, blobPath(digest));
  if (bytes === undefined) throw new Error(`${what} ${digest} is not in the layout`);
  const actual = digestOf(bytes, digest);
  if (actual !== digest) throw new Error(`${what} has the digest ${actual}, not ${digest}`);
  return bytes;
}

async function readLayout(dir: string, source: string): Promise<FoundImage[] | undefined> {
  const indexJson = await readInside(dir, 'index.json');
  if (indexJson === undefined) return undefined;
  const index = parseManifest(indexJson, 'application/vnd.oci.image.index.v1+json');
  if (index.kind !== 'index') throw new Error('index.json is not an image index');
  const found: FoundImage[] = [];
  const saved = await readSaveNames(dir);
  for (const descriptor of index.manifests) {
    const image = await readImage(dir, descriptor);
    if (image === undefined) continue;
    const names = new Set([...namesOf(descriptor, source), ...(saved.get(digestOf(image.config)) ?? [])]);
    found.push({ ...image, names: [...names], target: descriptor.digest });
  }
  return found;
}

/** The image of a descriptor; undefined when it is for other platforms or no image (attestations). */
async function readImage(dir: string, descriptor: Descriptor): Promise<Omit<FoundImage, 'names' | 'target'> | undefined> {
  const { platform } = descriptor;
  if (platform !== undefined && (platform.os !== 'linux' || platform.architecture !== hostArchitecture())) return undefined;
  const bytes = await readBlob(dir, descriptor, 'the manifest');
  const manifest = parseManifest(bytes, descriptor.mediaType);
  if (manifest.kind === 'index') {
    const inner = await readImage(dir, choosePlatform(manifest));
    return inner && { ...inner, documents: new Map([[descriptor.digest, bytes], ...inner.documents]) };
  }
  const config = await readBlob(dir, manifest.config, 'the image config');
  const layers = manifest.layers.map((layer) => ({ file: fileOf(dir, blobPath(layer.digest), layer.digest), descriptor: layer }));
  return { config, layers, documents: new Map([[descriptor.digest, bytes]]) };
}

function fileOf(dir: string, name: string, what: string): string {
  const file = resolveInRoot(dir, name);
  if (file === undefined || !fs.statSync(file).isFile()) throw new Error(`the layer ${what} is not in the archive`);
  return file;
}

/** Names from annotations: a whole one, or a tag that names the layout's own file or directory. */
function namesOf({ annotations }: Descriptor, source: string): string[] {
  const full = annotations['io.containerd.image.name'];
  if (full !== undefined) return [full];
  const name = annotations['org.opencontainers.image.ref.name'];
  if (name === undefined) return [];
  if (/[/:]/.test(name)) return [name];
  const base = path
    .basename(source)
    .replace(/(\.oci)?(\.tar(\.gz|\.zst)?|\.tgz)?$/, '')
    .toLowerCase();
  const tagged = `localhost/${base}:${name}`;
  try {
    parseReference(tagged);
    return [tagged];
  } catch {
    return [];
  }
}

interface SavedImage {
  readonly config: string;
  readonly layers: readonly string[];
  readonly names: readonly string[];
}

async function readSaveManifest(dir: string): Promise<SavedImage[] | undefined> {
  const bytes = await readInside(dir, 'manifest.json');
  if (bytes === undefined) return undefined;
  // An array at its root, which is why it is wrapped.
  const { images } = parseJson(Buffer.from(`{"images":${bytes.toString('utf8')}}`), 'manifest.json');
  if (!Array.isArray(images)) throw new Error('manifest.json is not a list of images');
  return images.map((value: unknown, i) => {
    const { Config, Layers, RepoTags } = (value ?? {}) as Record<string, unknown>;
    const texts = (list: unknown) => (Array.isArray(list) ? list.filter((item) => typeof item === 'string') : []);
    if (typeof Config !== 'string' || !Array.isArray(Layers)) throw new Error(`image ${i} of manifest.json has no Config or Layers`);
    return { config: Config, layers: texts(Layers), names: texts(RepoTags) };
  });
}

/** Names that manifest.json gives to configs, for OCI layouts that have one beside. */
async function readSaveNames(dir: string): Promise<Map<string, readonly string[]>> {
  const names = new Map<string, readonly string[]>();
  for (const image of (await readSaveManifest(dir)) ?? []) {
    const config = await readInside(dir, image.config);
    if (config !== undefined) names.set(digestOf(config), image.names);
  }
  return names;
}

async function readSave(dir: string): Promise<FoundImage[] | undefined> {
  const images = await readSaveManifest(dir);
  if (images === undefined) return undefined;
  const found: FoundImage[] = [];
  for (const { config, layers, names } of images) {
    const bytes = await readInside(dir, config);
    if (bytes === undefined) throw new Error(`the image config ${config} is not in the archive`);
    const { architecture } = parseConfig(bytes);
    if (architecture !== '' && architecture !== hostArchitecture()) continue;
    found.push({ config: bytes, documents: new Map(), layers: layers.map((name) => ({ file: fileOf(dir, name, name) })), names });
  }
  return found;
}
