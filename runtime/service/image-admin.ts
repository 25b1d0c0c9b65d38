// Owns tskubelet's own image calls, which CRI has no words for: archives, images of the host's programs, names, pushing, progress.
import path from 'node:path';
import type { LayerProgress as WireLayer, PullProgress as WireProgress } from '../../cri-proto/gen/admin.ts';
import type { RuntimeContext } from '../context.ts';
import { invalidArgument } from '../errors.ts';
import type { PullProgress } from '../image/pull-progress.ts';
import type { PushedLayer } from '../image/push.ts';
import { formatReference, parseReference } from '../image/reference.ts';
import type { CriHandlers } from '../server/handlers.ts';
import { coded } from './images.ts';
import { createLatest } from './latest.ts';

function absolute(file: string): string {
  if (!path.isAbsolute(file)) throw invalidArgument(`"${file}" is not an absolute path`);
  return file;
}

function needed(text: string, what: string): string {
  if (text === '') throw invalidArgument(`the request names no ${what}`);
  return text;
}

function wireLayer({ digest, totalBytes, state }: PushedLayer | PullProgress['layers'][number], doneBytes: number): WireLayer {
  return { digest, totalBytes: BigInt(totalBytes), doneBytes: BigInt(doneBytes), state };
}

export function wireProgress({ pullId, reference, state, error = '', startedAtMs, layers }: PullProgress): WireProgress {
  const wire = layers.map((layer) => wireLayer(layer, layer.receivedBytes));
  return { pullId, reference, state, error, startedAtMs: BigInt(startedAtMs), layers: wire };
}

export function imageAdminHandlers({ images }: Pick<RuntimeContext, 'images'>): CriHandlers {
  return {
    importImage: async ({ path: file }) => ({ references: [...(await images.import(absolute(file)))] }),
    buildHostImage: async ({ name, binaries }) => {
      if (name === '') throw invalidArgument('the request names no image');
      if (binaries.length === 0) throw invalidArgument(`image ${name}: the request names no binary`);
      return { imageId: await images.buildHost(name, binaries.map(absolute)) };
    },
    tagImage: async ({ image, name }) => ({ reference: await images.tag(needed(image, 'image'), needed(name, 'name')) }),
    untagImage: async ({ image }) => ({ removedImageId: (await images.untag(needed(image, 'image'))) ?? '' }),
    pruneImages: async ({ all }) => {
      const { images: pruned, freedBytes } = await images.prune(all);
      return { images: pruned.map(({ id, references }) => ({ imageId: id, references: [...references] })), freedBytes };
    },
    exportImages: async ({ images: names, path: file }, { signal }) => {
      if (names.length === 0) throw invalidArgument('the request names no image');
      return { imageIds: [...(await coded(images.export(names, absolute(file), signal)))] };
    },
    pushImage: async function* ({ image, target, username, password }, { signal }) {
      const latest = createLatest<readonly PushedLayer[]>();
      const auth = username === '' ? {} : { auth: { username, password } };
      const pushed = images
        .push(needed(image, 'image'), needed(target, 'target'), { ...auth, signal, onProgress: latest.set })
        .finally(latest.end);
      // Its failure is told below, after the progress that came before it.
      pushed.catch(() => undefined);
      for await (const layers of latest.values)
        yield { layers: layers.map((layer) => wireLayer(layer, layer.sentBytes)), reference: '', digest: '', imageId: '' };
      const { reference, digest, id } = await coded(pushed);
      yield { layers: [], reference, digest, imageId: id };
    },
    watchPulls: async function* ({ reference }, { signal }) {
      const wanted = reference === '' ? undefined : spelling(reference);
      const isWanted = (progress: PullProgress) => wanted === undefined || progress.reference === wanted;
      const waiting = new Map<string, PullProgress>();
      const news = createLatest<true>();
      const tell = (progress: PullProgress) => {
        if (!isWanted(progress)) return;
        waiting.set(progress.pullId, progress);
        news.set(true);
      };
      const unwatch = images.pulls.watch(tell);
      signal.addEventListener('abort', news.end, { once: true });
      try {
        for (const progress of images.pulls.list()) tell(progress);
        for await (const _ of news.values)
          for (const [id, progress] of [...waiting]) {
            waiting.delete(id);
            yield wireProgress(progress);
          }
      } finally {
        unwatch();
        signal.removeEventListener('abort', news.end);
      }
    },
  };
}

function spelling(reference: string): string {
  try {
    return formatReference(parseReference(reference));
  } catch (error) {
    throw invalidArgument(error instanceof Error ? error.message : String(error));
  }
}
