// User-Mode Linux: a kernel that is a program, from Debian's package user-mode-linux. It sees the host's files through hostfs.
import fs from 'node:fs';
import path from 'node:path';
import { guestParameters, type PrepareOptions, type Run, root } from './kernel.ts';

const PROGRAM = '/usr/bin/linux.uml';

export function umlProblem(): string | undefined {
  if (!fs.existsSync(PROGRAM)) return 'user-mode-linux is not installed';
  if (!fs.existsSync('/usr/bin/busybox') && !fs.existsSync('/bin/busybox')) return 'busybox-static is not installed';
  return undefined;
}

export async function prepareUml({ directory, memoryMebibytes, timeoutMs }: PrepareOptions): Promise<Run> {
  return {
    emulated: false,
    file: PROGRAM,
    args: [
      `mem=${memoryMebibytes}M`,
      'rootfstype=hostfs',
      'rootflags=/',
      // Read-only: what the guest writes goes to an overlay in its memory, not to the host.
      'ro',
      `init=${path.join(root, 'e2e/guest/init.sh')}`,
      'con=null',
      'con0=null,fd:1',
      'quiet',
      ...guestParameters('uml', directory, timeoutMs),
    ],
    exitFile: path.join(directory, 'exit'),
    outputFile: path.join(directory, 'output'),
  };
}
