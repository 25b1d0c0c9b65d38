// Owns the devices that a request names: looked up on the host, as what the container's /dev gets and its cgroup allows.
import fs from 'node:fs';
import path from 'node:path';
import type { Device as CriDevice } from '../../cri-proto/gen/api.ts';
import { DEFAULT_DEVICE_RULES, type DeviceRule } from '../cgroup/device-filter.ts';
import { invalidArgument } from '../errors.ts';
import { listHostDevices, statDevice } from '../process/host-devices.ts';
import type { Device } from '../program/spec.ts';

/** The node at `hostPath`, or every node below it when it is a directory (as runc and containerd do for /dev/snd). */
export async function findDevices({ hostPath, containerPath, permissions }: CriDevice): Promise<readonly Device[]> {
  if (!/^[rwm]*$/.test(permissions)) throw invalidArgument(`device ${hostPath}: permissions "${permissions}" are not of r, w and m`);
  if (!path.isAbsolute(containerPath)) throw invalidArgument(`device ${hostPath}: container_path "${containerPath}" is not absolute`);
  const stat = await fs.promises.stat(hostPath).catch((cause: unknown) => {
    throw invalidArgument(`device ${hostPath}`, cause);
  });
  if (stat.isDirectory()) return listHostDevices(hostPath, containerPath);
  if (!stat.isCharacterDevice() && !stat.isBlockDevice()) throw invalidArgument(`${hostPath} is not a device`);
  return [{ path: path.normalize(containerPath), hostPath, ...statDevice(hostPath) }];
}

/** What the container may use of the host's devices: the harmless ones, and those that it asked for with the access that it asked for. */
export function planDeviceRules(asked: readonly CriDevice[], found: readonly Device[]): readonly DeviceRule[] {
  const access = (hostPath: string) =>
    asked.find((device) => hostPath === device.hostPath || hostPath.startsWith(`${device.hostPath}/`))?.permissions || 'rwm';
  return [...DEFAULT_DEVICE_RULES, ...found.map(({ type, major, minor, hostPath }) => ({ type, major, minor, access: access(hostPath) }))];
}
