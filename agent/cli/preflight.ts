// Owns what a daemon asks of its machine before it touches anything: one sentence for the first thing that is missing. `doctor` tells all.
import fs from 'node:fs';
import os from 'node:os';
import { CommandError } from '../error.ts';

export interface PreflightFacts {
  readonly platform: string;
  readonly arch: string;
  /** uname -r */
  readonly kernel: string;
  readonly uid: number;
  /** CapEff of /proc/self/status. */
  readonly capabilities: bigint;
}

const CAP_SYS_ADMIN = 21n;

export function preflightProblem({ platform, arch, kernel, uid, capabilities }: PreflightFacts): string | undefined {
  if (platform !== 'linux') return `tskubelet runs on Linux only, and this is ${platform}: use a Linux machine, a virtual one is enough`;
  if (arch !== 'x64' && arch !== 'arm64') return `tskubelet has no container start for ${arch} yet: use an x86_64 or aarch64 machine`;
  const [major = 0, minor = 0] = kernel.split('.').map((part) => Number.parseInt(part, 10));
  if (major < 5 || (major === 5 && minor < 15)) return `kernel ${kernel} is too old: tskubelet needs 5.15 or newer`;
  if (uid !== 0) return 'tskubelet makes namespaces, mounts and cgroups, which only root may: run it with sudo';
  if ((capabilities & (1n << CAP_SYS_ADMIN)) === 0n)
    return 'this root lacks CAP_SYS_ADMIN, as in an ordinary container: run that one privileged (docker run --privileged)';
  return undefined;
}

function gatherFacts(): PreflightFacts {
  const status = process.platform === 'linux' ? fs.readFileSync('/proc/self/status', 'latin1') : '';
  return {
    platform: process.platform,
    arch: process.arch,
    kernel: os.release(),
    uid: process.getuid?.() ?? 0,
    capabilities: BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`),
  };
}

/** Throws the sentence. */
export function checkMachine(): void {
  const problem = preflightProblem(gatherFacts());
  if (problem !== undefined) throw new CommandError(`${problem}; 'tskubelet doctor' shows all that this machine offers`);
}
