// Owns the /dev/null that containers get as stdin. Whoever is root in a container may change mode and owner of what stands behind a
// descriptor of his (`chmod 0 /dev/stdin`), so this is not the host's: a node on a read-only tmpfs that is attached nowhere.
import fs from 'node:fs';
import {
  AT_EMPTY_PATH,
  FSCONFIG_CMD_CREATE,
  FSMOUNT_CLOEXEC,
  FSOPEN_CLOEXEC,
  MOUNT_ATTR_BYTES,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  O_CLOEXEC,
  O_RDWR,
} from './constants.ts';
import { mapAnonymous } from './memory.ts';
import { encodeDevice, S_IFCHR } from './mknod.ts';
import { syscall } from './syscall.ts';

let mount: number | undefined;

/** A fresh descriptor of it, readable and writable. */
export function openNull(): number {
  mount ??= mountNull();
  return syscall('openat', mount, 'dev/null', O_RDWR | O_CLOEXEC, 0);
}

function mountNull(): number {
  const context = syscall('fsopen', 'tmpfs', FSOPEN_CLOEXEC);
  try {
    syscall('fsconfig', context, FSCONFIG_CMD_CREATE, 0, 0, 0);
    const made = syscall('fsmount', context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    // With this path /proc/self/fd/0 reads "/dev/null".
    syscall('mkdirat', made, 'dev', 0o755);
    syscall('mknodat', made, 'dev/null', S_IFCHR | 0o666, encodeDevice(1, 3));
    syscall('fchmodat', made, 'dev/null', 0o666); // whatever the umask
    syscall('fchmodat', made, 'dev', 0o755);
    // struct mount_attr { u64 attr_set, attr_clr, propagation, userns_fd }
    const attributes = mapAnonymous(4096);
    attributes.buffer.writeBigUInt64LE(BigInt(MOUNT_ATTR_RDONLY), 0);
    syscall('mount_setattr', made, '', AT_EMPTY_PATH, attributes.address, MOUNT_ATTR_BYTES);
    return made;
  } finally {
    fs.closeSync(context);
  }
}
