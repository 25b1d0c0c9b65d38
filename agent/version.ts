// Owns the one version number: package.json's.
import fs from 'node:fs';

interface Package {
  readonly version: string;
}

/** package.json lies one folder up from the sources and two from dist/agent. */
function readPackage(): Package {
  for (const up of ['../package.json', '../../package.json']) {
    const file = new URL(up, import.meta.url);
    if (fs.existsSync(file)) return JSON.parse(fs.readFileSync(file, 'utf8')) as Package;
  }
  throw new Error('package.json of tskubelet is missing: install it again');
}

export const VERSION = readPackage().version;
