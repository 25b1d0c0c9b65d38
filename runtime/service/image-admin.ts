// Owns tskubelet's own image calls, which CRI has no words for: import of archives, and images of the host's programs.
import path from 'node:path';
import type { RuntimeContext } from '../context.ts';
import { invalidArgument } from '../errors.ts';
import type { CriHandlers } from '../server/handlers.ts';

function absolute(file: string): string {
  if (!path.isAbsolute(file)) throw invalidArgument(`"${file}" is not an absolute path`);
  return file;
}

export function imageAdminHandlers({ images }: Pick<RuntimeContext, 'images'>): CriHandlers {
  return {
    importImage: async ({ path: file }) => ({ references: [...(await images.import(absolute(file)))] }),
    buildHostImage: async ({ name, binaries }) => {
      if (name === '') throw invalidArgument('the request names no image');
      if (binaries.length === 0) throw invalidArgument(`image ${name}: the request names no binary`);
      return { imageId: await images.buildHost(name, binaries.map(absolute)) };
    },
  };
}
