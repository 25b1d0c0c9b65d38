// Owns the shim of a container that criu restores. Pure.
//
//   shim      prologue · subreaper · clone ─▶ waits ▶ "created" · reads init's pid · pidfd ▶ started · as every shim
//   criu                              └▶ cgroups · the sandbox's namespaces · its own mounts: overlay, image volumes · execve criu restore
//
// criu makes mount and PID namespace anew and takes every other one as it finds it: it runs where the container shall. Its mounts go with
// it; the tree of the container is a copy.
import * as k from '../linux/constants.ts';
import { type Program, ProgramBuilder, shown } from './builder.ts';
import { addV1Placement } from './container-program.ts';
import { namespaceFlags } from './namespaces.ts';
import { addMaker } from './oci-program.ts';
import { addSignals } from './process-steps.ts';
import { FD } from './records.ts';
import { addOverlay } from './rootfs-steps.ts';
import { addPrologue, addShim } from './shim-steps.ts';
import type { ContainerSpec } from './spec.ts';

export interface RestoreSpec {
  readonly recordId: number;
  readonly container: Pick<ContainerSpec, 'rootfs' | 'mounts' | 'cgroup' | 'keepsStdin'>;
  /** criu's executable and arguments. */
  readonly argv: readonly string[];
  readonly env: readonly string[];
  readonly ignoredSignals: readonly number[];
}

/** Where the program finds the container's stdio: criu is told these numbers. */
export const RESTORED_STDIO = [FD.stdin, FD.stdout, FD.stderr] as const;

export function planRestoreProgram(spec: RestoreSpec): Program {
  const p = new ProgramBuilder({ recordId: spec.recordId });
  const { cgroup, keepsStdin } = spec.container;
  addPrologue(p, 'tskubelet-shim');
  p.phase('restore');
  const intoCgroup = cgroup.unified !== undefined;
  const { child, pid, pidfd } = addMaker(p, { recordId: spec.recordId, intoCgroup, pipe: FD.pidTarget, note: 'criu' });
  addShim(p, { recordId: spec.recordId, pid, pidfd, of: 'container', holdsStdin: keepsStdin });

  p.place(child);
  addCriu(p, spec);
  return p.finish();
}

function addCriu(p: ProgramBuilder, { container, argv, env, ignoredSignals }: RestoreSpec): void {
  p.phase('namespaces');
  p.op('prctl', [k.PR_SET_PDEATHSIG, k.SIGKILL], { note: 'a container that nobody waits for is not restored' });
  p.op('setsid', [], { onError: 'ignore' });
  addV1Placement(p, container.cgroup.v1Procs);
  const sandbox = namespaceFlags(['net', 'ipc', 'uts']);
  p.op('setns', [FD.join, shown(sandbox.value, sandbox.shows)], { note: 'the namespaces of the sandbox' });
  const own = namespaceFlags(['mnt', 'cgroup']);
  p.op('unshare', [shown(own.value, own.shows)], { note: 'its cgroups are the roots that the container sees' });
  p.phase('root file system');
  p.op('mount', ['', '/', 0, k.MS_REC | k.MS_PRIVATE, 0], { note: 'the host shall not see what is mounted for criu' });
  addOverlay(p, container.rootfs, container.rootfs.lowerDirs);
  for (const mount of container.mounts) if (mount.kind === 'image') addOverlay(p, mount, mount.lowerDirs);
  p.phase('criu');
  p.op('close_range', [FD.pidTarget, FD.events, k.CLOSE_RANGE_CLOEXEC]);
  p.op('close_range', [FD.join, 0xffffffff, k.CLOSE_RANGE_CLOEXEC], { note: 'but for the container’s stdio' });
  p.op('chdir', ['/']);
  p.op('umask', [0o022]);
  addSignals(p, ignoredSignals);
  p.op('execve', [argv[0] ?? '', shown(p.stringArray(argv), JSON.stringify(argv)), shown(p.stringArray(env), `${env.length} variables`)]);
}
