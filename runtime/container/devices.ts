// Owns the devices that a request names: looked up on the host, as what the container's /dev gets.
import fs from 'node:fs';
import path from 'node:path';
import type { Device as CriDevice } from '../../cri-proto/gen/api.ts';
import { DEFAULT_DEVICE_RULES, type DeviceRule } from '../cgroup/device-filter.ts';
import { invalidArgument } from '../errors.ts';
import type { Device } from '../program/spec.ts';

/** glibc's gnu_dev_major and gnu_dev_minor: 12 + 20 bit numbers in the 64-bit st_rdev. makedev(3) */
function numbersOf(rdev: number): { major: number; minor: number } {
  const value = BigInt(rdev);
  return {
    major: Number(((value >> 8n) & 0xfffn) | ((value >> 32n) & 0xfffff000n)),
    minor: Number((value & 0xffn) | ((value >> 12n) & 0xffffff00n)),
  };
}

/** The node at `hostPath`, or every node below it when it is a directory (as runc and containerd do for /dev/snd). */
export async function findDevices(device: CriDevice): Promise<readonly Device[]> {
  const stat = await fs.promises.stat(device.hostPath).catch((cause: unknown) => {
    throw invalidArgument(`device ${device.hostPath}`, cause);
  });
  if (stat.isDirectory()) {
    const names = await fs.promises.readdir(device.hostPath);
    const found = await Promise.all(
      names.map((name) =>
        findDevices({ ...device, hostPath: path.join(device.hostPath, name), containerPath: path.join(device.containerPath, name) }),
      ),
    );
    return found.flat();
  }
  if (!stat.isCharacterDevice() && !stat.isBlockDevice()) throw invalidArgument(`${device.hostPath} is not a device`);
  return [
    {
      path: device.containerPath,
      hostPath: device.hostPath,
      type: stat.isBlockDevice() ? 'b' : 'c',
      ...numbersOf(stat.rdev),
      mode: stat.mode & 0o7777,
      uid: stat.uid,
      gid: stat.gid,
    },
  ];
}

/** Not devices of the host but file systems of their own, and links that every container gets. */
const NOT_FOR_CONTAINERS = ['pts', 'shm', 'fd', 'mqueue', 'console', 'ptmx', '.lxc', '.lxd-mounts', '.udev'];

/** Every node below the host's /dev: what a privileged container sees, as with runc and containerd. */
export async function findHostDevices(directory = '/dev'): Promise<readonly Device[]> {
  const entries = await fs.promises.readdir(directory, { withFileTypes: true });
  const found = await Promise.all(
    entries
      .filter(({ name }) => directory !== '/dev' || !NOT_FOR_CONTAINERS.includes(name))
      .map(async (entry) => {
        const hostPath = path.join(directory, entry.name);
        if (entry.isDirectory()) return findHostDevices(hostPath);
        if (!entry.isCharacterDevice() && !entry.isBlockDevice()) return [];
        return findDevices({ hostPath, containerPath: hostPath, permissions: 'rwm' });
      }),
  );
  return found.flat();
}

/** What the container may use of the host's devices: the harmless ones, and those that it asked for with the access that it asked for. */
export function planDeviceRules(asked: readonly CriDevice[], found: readonly Device[]): readonly DeviceRule[] {
  const access = (hostPath: string) =>
    asked.find((device) => hostPath === device.hostPath || hostPath.startsWith(`${device.hostPath}/`))?.permissions || 'rwm';
  return [...DEFAULT_DEVICE_RULES, ...found.map(({ type, major, minor, hostPath }) => ({ type, major, minor, access: access(hostPath) }))];
}
