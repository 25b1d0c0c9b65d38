// Owns `explain`: how a container of a running pod was started, or how one of a manifest would be.
import { CommandError, usageError } from '../error.ts';
import { getJson } from './agent-client.ts';
import { explainNet } from './explain-net.ts';
import { type ExplainedPod, exactJson, renderExplainedPod } from './explain-text.ts';
import type { Invocation } from './flags.ts';
import { containerOf, findPod, parsePodName } from './pod-name.ts';
import type { ExplainedStart, RuntimeHalf } from './runtime-half.ts';
import { readNodeSettings, readSettings } from './settings.ts';

const USAGE = 'explain POD[/CONTAINER] start, explain POD net, or explain --dry-run FILE start';

/** Of GET /explain: what the runtime says in its verbose info. */
interface Answer {
  readonly sandbox: { readonly program?: ExplainedStart } | null;
  readonly containers: readonly {
    readonly name: string;
    readonly state: string;
    readonly info?: { readonly phases?: Readonly<Record<string, number>> };
    readonly program?: ExplainedStart;
  }[];
}

export async function explain(invocation: Invocation, runtime: RuntimeHalf): Promise<number> {
  const { flags, words } = invocation;
  if (flags.output !== undefined && flags.output !== 'json') throw usageError(`-o ${flags.output}: explain has json`);
  const [view = 'start', ...more] = flags['dry-run'] === undefined ? words.slice(1) : words;
  if (more.length > 0) throw usageError(`usage: tskubelet ${USAGE}`);
  if (view === 'net' && flags['dry-run'] === undefined) return explainNet(invocation, USAGE);
  if (view !== 'start')
    throw usageError(
      view === 'net'
        ? 'explain net shows the network of a pod that runs: leave out --dry-run'
        : `explain has the views "start" and "net" in this version of tskubelet, not "${view}"`,
    );
  const pods =
    flags['dry-run'] === undefined ? [await explainRunning(invocation)] : await explainManifest(flags['dry-run'], invocation, runtime);
  if (flags.output === 'json') process.stdout.write(`${exactJson(pods.length === 1 ? pods[0] : pods)}\n`);
  else process.stdout.write(pods.map(renderExplainedPod).join('\n'));
  return 0;
}

async function explainRunning({ flags, words }: Invocation): Promise<ExplainedPod> {
  const settings = readSettings(flags);
  const target = parsePodName(words[0], flags, USAGE);
  const pod = await findPod(settings, target);
  const only = target.container === undefined ? '' : `?container=${encodeURIComponent(containerOf(pod, target.container))}`;
  const place = ['explain', target.namespace, target.name].map(encodeURIComponent).join('/');
  const { sandbox, containers } = await getJson<Answer>(settings, `/${place}${only}`);
  if (sandbox === null)
    throw new CommandError(`pod ${target.name} has no sandbox yet; 'tskubelet get pods -o wide' says what it waits for`);
  return {
    namespace: target.namespace,
    pod: target.name,
    ...(sandbox.program === undefined ? {} : { sandbox: sandbox.program }),
    containers: containers.map(({ name, state, info, program }) => ({
      ...{ name, state },
      ...(info?.phases === undefined ? {} : { phases: info.phases }),
      ...(program ?? {}),
    })),
  };
}

async function explainManifest(file: string, { flags }: Invocation, runtime: RuntimeHalf): Promise<readonly ExplainedPod[]> {
  const { planDryRun } = await import('./dry-run.ts');
  const explained: ExplainedPod[] = [];
  for (const { desired, configs } of await planDryRun(file, readNodeSettings(flags), runtime)) {
    const { sandbox, containers } = await runtime.explainStart(configs);
    const { namespace = 'default', name = '' } = desired.pod.metadata ?? {};
    const shown = containers.filter((container) => flags.container === undefined || container.name === flags.container);
    if (shown.length === 0)
      throw new CommandError(`container "${flags.container}" is not in pod ${name}: it has ${containers.map((c) => c.name).join(', ')}`);
    explained.push({ namespace, pod: name, sandbox, containers: shown });
  }
  return explained;
}
