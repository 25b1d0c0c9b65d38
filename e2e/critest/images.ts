// The images that critest names, made here from Debian's busybox source and two small programs, with what each spec looks for in them.
import fs from 'node:fs';
import path from 'node:path';
import { archiveOf, type Image, layerOf } from './archive.ts';
import { digestImage } from './digest-image.ts';
import type { Programs } from './programs.ts';

const PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const USERS = [
  ['root', 0, 0, '/root', '/bin/sh'],
  ['daemon', 1, 1, '/usr/sbin', '/bin/false'],
  ['www-data', 33, 33, '/var/www', '/bin/false'],
  ['nobody', 65534, 65534, '/home', '/bin/false'],
] as const;
const passwd = USERS.map(([name, uid, gid, home, shell]) => `${name}:x:${uid}:${gid}:${name}:${home}:${shell}\n`).join('');
const group = 'root:x:0:\ndaemon:x:1:\ntty:x:5:\nwww-data:x:33:\nusers:x:100:\nnogroup:x:65534:\n';

/**
 * A small system of one program. Its applets are hard links: a spec masks /bin/ls, which through a symbolic link would be the program
 * itself.
 */
function baseLayer(busybox: string, applets: readonly string[], work: string): Buffer {
  const root = path.join(work, 'base');
  const directories = ['bin', 'dev', 'etc', 'home', 'proc', 'root', 'run', 'sys', 'usr/bin', 'usr/sbin', 'var/www'];
  for (const directory of directories) fs.mkdirSync(path.join(root, directory), { recursive: true });
  fs.mkdirSync(path.join(root, 'tmp'));
  fs.chmodSync(path.join(root, 'tmp'), 0o1777);
  fs.symlinkSync('../run', path.join(root, 'var/run'));
  fs.copyFileSync(busybox, path.join(root, 'bin/busybox'));
  fs.chmodSync(path.join(root, 'bin/busybox'), 0o755);
  for (const applet of applets) if (applet !== 'busybox') fs.linkSync(path.join(root, 'bin/busybox'), path.join(root, 'bin', applet));
  fs.writeFileSync(path.join(root, 'etc/passwd'), passwd);
  fs.writeFileSync(path.join(root, 'etc/group'), group);
  return archiveOf(root);
}

export function planImages({ busybox, applets, nginx, effectiveUid, pause }: Programs, work: string): readonly Image[] {
  const base = baseLayer(busybox, applets, work);
  const tools = 'k8s-staging-cri-tools/';
  const tests = 'e2e-test-images/';
  const image = (format: Image['format'], repository: string, tags: string[], run: object, layers: Buffer[] = []): Image => ({
    repository,
    tags,
    format,
    run: { Env: [PATH], Cmd: ['sh'], ...run },
    layers: [base, ...layers],
  });
  const marked = (name: string) => [layerOf({ [name]: { content: '' } })];
  const server = layerOf({ 'usr/sbin/nginx': { content: fs.readFileSync(nginx), mode: 0o755 } });
  // Room for the title "nginx: master process".
  const serve = (port: number) => ({ Cmd: ['nginx', `${port}`, '-g', 'daemon off;'], ExposedPorts: { [`${port}/tcp`]: {} } });
  const httpd = {
    'www/index.html': { content: '<h1>It works!</h1>\n' },
    // A spec looks for "httpd" in the log.
    'bin/httpd-foreground': { content: '#!/bin/sh\necho "httpd starts" >&2\nexec httpd -f -p 80 -h /www\n', mode: 0o755 },
  };
  const groups = {
    'etc/passwd': { content: `${passwd}default-user:x:1000:1000::/home:/bin/sh\n` },
    'etc/group': { content: `${group}default-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n` },
  };
  const setuid = layerOf({ 'bin/effective-uid': { content: fs.readFileSync(effectiveUid), mode: 0o4755 } });
  return [
    image('docker', `${tests}busybox`, ['1.29-2'], {}),
    image('oci', `${tests}nginx`, ['1.14-2'], serve(80), [server]),
    image('oci', `${tools}hostnet-nginx-amd64`, ['latest'], serve(12003), [server]),
    image('oci', `${tests}httpd`, ['2.4.39-4'], { Cmd: ['httpd-foreground'] }, [layerOf(httpd)]),
    image('docker', `${tests}nonewprivs`, ['1.3'], { Cmd: ['/bin/effective-uid'] }, [setuid]),
    ...['1', '2', '3'].map((n) => image('docker', `${tools}test-image-${n}`, ['latest'], {}, marked(`test-image-${n}`))),
    image('oci', `${tools}test-image-tags`, ['1', '2', '3'], {}, marked('same-image')),
    image('oci', `${tools}test-image-tag`, ['test'], {}, marked('test')),
    image('oci', `${tools}test-image-tag`, ['all'], {}, marked('all')),
    image('docker', `${tools}test-image-latest`, ['latest'], {}, marked('test-image-latest')),
    image('docker', `${tools}test-image-user-uid`, ['latest'], { User: '1002' }),
    image('docker', `${tools}test-image-user-username`, ['latest'], { User: 'www-data' }),
    image('docker', `${tools}test-image-user-uid-group`, ['latest'], { User: '1003:1004' }),
    image('docker', `${tools}test-image-user-username-group`, ['latest'], { User: 'www-data:1004' }),
    image('oci', `${tools}test-image-predefined-group`, ['latest'], { User: '1000' }, [layerOf(groups)]),
    {
      repository: 'pause',
      tags: ['3.9', '3.10'],
      format: 'docker',
      layers: [layerOf({ pause: { content: fs.readFileSync(pause), mode: 0o755 } })],
      run: { Entrypoint: ['/pause'], User: '65535:65535' },
    },
    digestImage(),
  ];
}
