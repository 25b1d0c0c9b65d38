// Completes package-lock.json with the optional platform packages that the registry in use does not carry.
// npm leaves those out of the lock and `npm ci` then refuses it; a foreign platform's package is never fetched, so name,
// version, os and cpu are enough.
import { readFileSync, writeFileSync } from 'node:fs';

const file = new URL('../package-lock.json', import.meta.url);
const lock = JSON.parse(readFileSync(file, 'utf8'));
const added = [];
for (const entry of Object.values({ ...lock.packages })) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const key = `node_modules/${name}`;
    if (lock.packages[key] !== undefined) continue;
    const [, os, cpu, libc] = /(android|darwin|freebsd|linux|openbsd|netbsd|sunos|win32)-([a-z0-9]+)(?:-(musl))?$/.exec(name) ?? [];
    if (os === undefined) throw new Error(`${name}: no platform in its name; add it to package-lock.json by hand`);
    lock.packages[key] = {
      version,
      cpu: [cpu === 'armv7' ? 'arm' : cpu],
      ...(entry.dev ? { dev: true } : {}),
      ...(libc === undefined ? {} : { libc: [libc] }),
      optional: true,
      os: [os],
    };
    added.push(name);
  }
}
lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)));
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
console.log(added.length === 0 ? 'package-lock.json is complete' : `added ${added.join(', ')}`);
