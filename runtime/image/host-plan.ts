// Owns what a host image contains: from binaries and their libraries to a list of steps. Pure; host-image.ts carries it out.
import path from 'node:path';
import { type Closure, defaultDirectories } from './shared-libraries.ts';

/** Paths are in the image, absolute, with every parent a real directory. */
export type HostStep =
  | { readonly kind: 'directory'; readonly path: string; readonly mode: number }
  | { readonly kind: 'file'; readonly path: string; readonly content: string }
  | { readonly kind: 'symlink'; readonly path: string; readonly target: string }
  /** A program or library of the host, taken over whole. */
  | { readonly kind: 'host-file'; readonly path: string; readonly source: string }
  /** A directory tree of small read-only files of the host; absent is fine. */
  | { readonly kind: 'host-tree'; readonly path: string; readonly source: string }
  /** Another name of a file made by an earlier step. */
  | { readonly kind: 'link'; readonly path: string; readonly to: string };

const directories: readonly (readonly [path: string, mode: number])[] = [
  ['/dev', 0o755],
  ['/etc', 0o755],
  ['/etc/ssl', 0o755],
  ['/etc/ssl/certs', 0o755],
  ['/home', 0o755],
  ['/proc', 0o555],
  ['/root', 0o700],
  ['/run', 0o755],
  ['/sys', 0o555],
  ['/tmp', 0o1777],
  ['/usr', 0o755],
  ['/usr/bin', 0o755],
  ['/usr/lib', 0o755],
  ['/usr/lib64', 0o755],
  ['/usr/sbin', 0o755],
  ['/usr/share', 0o755],
  ['/var', 0o755],
  ['/var/log', 0o755],
  ['/var/tmp', 0o1777],
];

const symlinks: readonly (readonly [path: string, target: string])[] = [
  ['/bin', 'usr/bin'],
  ['/lib', 'usr/lib'],
  ['/lib64', 'usr/lib64'],
  ['/sbin', 'usr/sbin'],
  ['/var/run', '../run'],
];

const passwd = [
  'root:x:0:0:root:/root:/bin/sh',
  'daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin',
  'www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin',
  'node:x:1000:1000:node:/tmp:/bin/sh',
  'nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin',
];
const group = ['root:x:0:', 'daemon:x:1:', 'tty:x:5:', 'www-data:x:33:', 'users:x:100:', 'node:x:1000:', 'nogroup:x:65534:'];

const commandDirectories = ['/usr/bin', '/usr/sbin', '/usr/local/bin', '/usr/local/sbin'];
export const commandPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** /bin, /lib and their like are links to /usr in the image, whatever they are on the host. */
export function imagePath(file: string): string {
  return /^\/(bin|sbin|lib|lib64)\//.test(file) ? `/usr${file}` : file;
}

/** Where a program that was asked for goes: its own place when that is on PATH, else /usr/local/bin. */
export function commandImagePath(file: string): string {
  const own = imagePath(file);
  return commandDirectories.includes(path.dirname(own)) ? own : `/usr/local/bin/${path.basename(own)}`;
}

function libraryImagePath(name: string, file: string, libc: string | undefined): string {
  if (name.includes('/')) return imagePath(name);
  // A library from a directory that only the host's loader configuration knows is put where every loader looks.
  const home = defaultDirectories.includes(path.dirname(file)) ? path.dirname(file) : path.dirname(libc ?? '/usr/lib/libc.so');
  return imagePath(path.join(home, name));
}

/** `placed` says where each program that was asked for goes; what it needs follows. */
export function planHostImage(closure: Closure, placed: ReadonlyMap<string, string>, applets: readonly string[] = []): HostStep[] {
  const files = new Map<string, string>();
  for (const { file } of closure.binaries) files.set(placed.get(file) ?? imagePath(file), file);
  for (const loader of closure.loaders) files.set(imagePath(loader), loader);
  for (const [name, file] of closure.libraries) files.set(libraryImagePath(name, file, closure.libraries.get('libc.so.6')), file);

  const made = new Map(directories);
  for (const file of files.keys()) {
    for (let parent = path.dirname(file); parent !== '/'; parent = path.dirname(parent)) if (!made.has(parent)) made.set(parent, 0o755);
  }
  const first = [...placed.values()][0] ?? '/usr/bin/busybox';
  return [
    ...[...made].sort(([a], [b]) => (a < b ? -1 : 1)).map(([dir, mode]) => ({ kind: 'directory', path: dir, mode }) as const),
    ...symlinks.map(([link, target]) => ({ kind: 'symlink', path: link, target }) as const),
    { kind: 'file', path: '/etc/passwd', content: `${passwd.join('\n')}\n` },
    { kind: 'file', path: '/etc/group', content: `${group.join('\n')}\n` },
    { kind: 'file', path: '/etc/nsswitch.conf', content: 'passwd: files\ngroup: files\nhosts: files dns\n' },
    { kind: 'host-tree', path: '/etc/ssl/certs/ca-certificates.crt', source: '/etc/ssl/certs/ca-certificates.crt' },
    { kind: 'host-tree', path: '/usr/share/zoneinfo', source: '/usr/share/zoneinfo' },
    ...[...files].map(([target, source]) => ({ kind: 'host-file', path: target, source }) as const),
    ...applets
      .map((applet) => `/usr/bin/${applet}`)
      .filter((applet) => !files.has(applet))
      .map((applet) => ({ kind: 'link', path: applet, to: first }) as const),
  ];
}
