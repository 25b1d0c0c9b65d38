// Owns the dry run: what a start of these CRI configs would do on this machine, without one. What only a start knows (the image's layers,
// ids, the image's own command and user) stands as <words> in its place.
import fs from 'node:fs';
import path from 'node:path';
import { ContainerConfig, NamespaceMode as Mode, PodSandboxConfig } from '../../cri-proto/gen/api.ts';
import type { CgroupHost } from '../cgroup/cgroup.ts';
import { detectCgroupHost } from '../cgroup/host.ts';
import { planCgroup } from '../cgroup/plan.ts';
import { cgroupProblem } from '../cgroup/root.ts';
import { planRlimits } from '../container/annotations.ts';
import { findUnified } from '../container/resolve.ts';
import { planResources } from '../container/resources.ts';
import { planSeccomp, seccompFile } from '../container/seccomp.ts';
import { planContainerSpec } from '../container/spec.ts';
import type { ImageConfig } from '../image/store.ts';
import { planOciCreate } from '../oci/bundle.ts';
import { type OciInput, planOci } from '../oci/find.ts';
import { planPaths } from '../paths.ts';
import { hostLimits } from '../process/host-limits.ts';
import type { CgroupPlacement, ContainerSpec } from '../program/spec.ts';
import { modeOf } from '../sandbox/modes.ts';
import { type ExplainedStart, explainContainerStart, explainSandboxConfig } from './explain.ts';

export interface DryRun {
  /** Encoded PodSandboxConfig and ContainerConfigs, as a client would send them. */
  readonly sandbox: Uint8Array;
  readonly containers: readonly Uint8Array[];
  readonly rootDir: string;
  readonly runDir: string;
  /** The external OCI runtime of the pod's runtime handler. */
  readonly ociRuntime?: string;
}

export interface ExplainedDryRun {
  readonly sandbox: ExplainedStart;
  readonly containers: readonly (ExplainedStart & { readonly name: string })[];
}

export async function explainStart(dryRun: DryRun): Promise<ExplainedDryRun> {
  const sandbox = PodSandboxConfig.decode(dryRun.sandbox);
  const host = detectCgroupHost();
  // A user who asks has none of the daemon's capabilities: the program is shown as root would run it.
  const target = { recordId: 0, ...hostLimits(), availableCapabilities: -1n };
  return {
    sandbox: explainSandboxConfig(sandbox, target),
    containers: await Promise.all(
      dryRun.containers.map(async (bytes) => {
        const config = ContainerConfig.decode(bytes);
        const name = config.metadata?.name ?? '';
        const cgroupPath = cgroupProblem(host) === undefined ? `${sandbox.linux?.cgroupParent || '/cri'}/<${name}>` : '';
        const unified = await findUnified(config, sandbox, existing(dryRun.rootDir));
        const profile = readProfile(config);
        const spec = planSpec(config, sandbox, { dryRun, host, cgroupPath, profile });
        const oci = planDryOci(
          dryRun,
          { config, cgroupPath, unified, ...(profile === undefined ? {} : { seccompProfile: profile }) },
          { sandbox, spec, host },
        );
        return { name, ...explainContainerStart({ config, spec, unified, cgroupPath, host, target, oci }) };
      }),
    ),
  };
}

/** Where a start would make a directory: the file system is that of its nearest ancestor. */
function existing(directory: string): string {
  return fs.existsSync(directory) || directory === '/' ? directory : existing(path.dirname(directory));
}

function readProfile({ linux }: ContainerConfig): string | undefined {
  const file = seccompFile(linux?.securityContext);
  return file === undefined ? undefined : fs.readFileSync(file, 'utf8');
}

function planDryOci(
  { ociRuntime, rootDir, runDir }: DryRun,
  record: OciInput['record'],
  { sandbox, spec, host }: { sandbox: PodSandboxConfig; spec: ContainerSpec; host: CgroupHost },
) {
  if (ociRuntime === undefined) return undefined;
  const create = planOciCreate({ paths: planPaths(rootDir, runDir) }, `<${record.config.metadata?.name}>`, { runtime: ociRuntime, spec });
  return { create, config: planOci(spec, { record, sandbox: { id: '<sandbox>', config: sandbox }, host }) };
}

function planSpec(
  config: ContainerConfig,
  sandbox: PodSandboxConfig,
  { dryRun, host, cgroupPath, profile }: { dryRun: DryRun; host: CgroupHost; cgroupPath: string; profile: string | undefined },
): ContainerSpec {
  const name = config.metadata?.name ?? '';
  const paths = planPaths(dryRun.rootDir, dryRun.runDir);
  const run = paths.sandboxRun('<sandbox>');
  const directory = paths.containerDir(`<${name}>`);
  const security = config.linux?.securityContext;
  const uid = Number(security?.runAsUser?.value ?? 0n);
  return planContainerSpec(config, sandbox, placeholderImage(config), {
    rootfs: {
      lowerDirs: [`<layers of ${config.image?.userSpecifiedImage || config.image?.image}>`],
      upperDir: path.join(directory, 'upper'),
      workDir: path.join(directory, 'work'),
      mountpoint: paths.containerRootfs(`<${name}>`),
      readonly: false,
    },
    user: { uid, gid: Number(security?.runAsGroup?.value ?? 0n), additionalGids: (security?.supplementalGroups ?? []).map(Number) },
    // Sources of volumes are made by the start; a file can only be the sandbox's own.
    sourceIsDirectory: new Map(config.mounts.map(({ hostPath, containerPath }) => [hostPath, !containerPath.startsWith('/etc/')])),
    devices: [],
    cgroup: cgroupPath === '' ? { v1Procs: [] } : placement(config, host, cgroupPath),
    cgroupMount: cgroupPath === '' ? 'none' : host.mode === 'unified' ? 'cgroup2' : 'host-bind',
    hostname: modeOf(sandbox, 'network') === Mode.NODE ? '' : sandbox.hostname,
    shmSource: modeOf(sandbox, 'ipc') === Mode.NODE ? '/dev/shm' : paths.sandboxShm('<sandbox>'),
    sandboxFiles: new Map(['hostname', 'hosts', 'resolv.conf'].map((file) => [`/etc/${file}`, `${run}/${file}`])),
    seccomp: planSeccomp(security, profile),
    rlimits: planRlimits(config, sandbox),
  });
}

function placement(config: ContainerConfig, host: CgroupHost, cgroupPath: string): CgroupPlacement {
  const { controllers } = planCgroup(planResources(config.linux?.resources), host);
  const mountpoints = new Set(controllers.flatMap((controller) => host.v1[controller] ?? []));
  return {
    ...(host.unified === undefined ? {} : { unified: path.join(host.unified, cgroupPath) }),
    v1Procs: [...mountpoints].map((mountpoint) => path.join(mountpoint, cgroupPath, 'cgroup.procs')),
  };
}

function placeholderImage({ image, command }: ContainerConfig): ImageConfig {
  const words = `<command of ${image?.userSpecifiedImage || image?.image}>`;
  return {
    entrypoint: command.length > 0 ? [] : [words],
    cmd: [],
    env: [],
    workingDir: '',
    user: '',
    stopSignal: '',
    labels: {},
    volumes: [],
  };
}
