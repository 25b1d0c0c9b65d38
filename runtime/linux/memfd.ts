// Owns executable images that are in no directory: a sealed memfd, or, where vm.memfd_noexec forbids those, a file in a tmpfs that is
// mounted nowhere.
import fs from 'node:fs';
import {
  ALL_SEALS,
  EACCES,
  EINVAL,
  F_ADD_SEALS,
  FSCONFIG_CMD_CREATE,
  FSCONFIG_SET_STRING,
  FSMOUNT_CLOEXEC,
  FSOPEN_CLOEXEC,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  MFD_EXEC,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOSUID,
  O_CLOEXEC,
  O_CREAT,
  O_RDONLY,
  O_WRONLY,
} from './constants.ts';
import { SyscallError } from './errno.ts';
import { syscall, trySyscall } from './syscall.ts';

/** A descriptor of the image, for execveat(2) with AT_EMPTY_PATH. Its name is what /proc/<pid>/exe shows. */
export function createImage(name: string, bytes: Buffer): number {
  const flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  let fd = trySyscall('memfd_create', name, flags | MFD_EXEC);
  // MFD_EXEC is unknown before Linux 6.3, where every memfd may be executed.
  if (fd === -EINVAL) fd = trySyscall('memfd_create', name, flags);
  // vm.memfd_noexec = 2 allows none. It holds for a PID namespace, so it may differ from one daemon to the next.
  if (fd === -EACCES) return createFileImage(name, bytes);
  if (fd < 0) throw new SyscallError('memfd_create', [name, flags], -fd);
  try {
    fs.writeSync(fd, bytes, 0, bytes.length, 0);
    // A container could otherwise write to its own init through /proc/self/exe (CVE-2019-5736).
    syscall('fcntl', fd, F_ADD_SEALS, ALL_SEALS);
    return fd;
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
}

let directory: number | undefined;
let lastFile = 0;

/** A tmpfs that no path leads to. */
function openHiddenTmpfs(): number {
  const context = syscall('fsopen', 'tmpfs', FSOPEN_CLOEXEC);
  try {
    syscall('fsconfig', context, FSCONFIG_SET_STRING, 'mode', '0700', 0);
    syscall('fsconfig', context, FSCONFIG_CMD_CREATE, 0, 0, 0);
    return syscall('fsmount', context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
  } finally {
    fs.closeSync(context);
  }
}

/**
 * The same in a file. It cannot be sealed; but its only writer is closed here, and while a process runs it nobody can open another
 * (ETXTBSY). That a child of a concurrent launch may still hold a copy of the writer for a moment is why the launcher tries again.
 */
function createFileImage(name: string, bytes: Buffer): number {
  directory ??= openHiddenTmpfs();
  const file = `${name}-${++lastFile}`;
  const writer = syscall('openat', directory, file, O_CREAT | O_WRONLY | O_CLOEXEC, 0o500);
  try {
    fs.writeSync(writer, bytes, 0, bytes.length, 0);
    return syscall('openat', directory, file, O_RDONLY | O_CLOEXEC, 0);
  } finally {
    fs.closeSync(writer);
    trySyscall('unlinkat', directory, file, 0);
  }
}
