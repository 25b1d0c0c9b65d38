// Owns the list of the host's devices: what a privileged container gets.
import fs from 'node:fs';
import path from 'node:path';
import { hasCode } from '../linux/errno.ts';
import type { Device } from '../program/spec.ts';

/** Made anew in every container, or of one mount namespace only. */
const OWN = new Set(['pts', 'shm', 'fd', 'mqueue', '.lxc', '.lxd-mounts', '.udev', 'console', 'ptmx']);

/** Every character and block device below `directory`, as runc takes them: not what is mounted there anew, nor the host's console. */
export function listHostDevices(directory = '/dev', target = '/dev'): readonly Device[] {
  return fs.readdirSync(directory, { withFileTypes: true }).flatMap((entry): readonly Device[] => {
    if (OWN.has(entry.name)) return [];
    const hostPath = path.join(directory, entry.name);
    const inside = path.join(target, entry.name);
    if (entry.isDirectory()) return listHostDevices(hostPath, inside);
    if (!entry.isCharacterDevice() && !entry.isBlockDevice()) return [];
    try {
      return [{ path: inside, hostPath, ...statDevice(hostPath) }];
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return []; // unplugged meanwhile
      throw error;
    }
  });
}

/** Type, numbers, mode and owner of a device node. makedev(3): 12 and 20 bits, spread over st_rdev. */
export function statDevice(hostPath: string): Omit<Device, 'path' | 'hostPath'> {
  const { rdev, mode, uid, gid } = fs.statSync(hostPath, { bigint: true });
  return {
    type: (Number(mode) & fs.constants.S_IFMT) === fs.constants.S_IFBLK ? 'b' : 'c',
    major: Number(((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n)),
    minor: Number((rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n)),
    mode: Number(mode) & 0o7777,
    uid: Number(uid),
    gid: Number(gid),
  };
}
