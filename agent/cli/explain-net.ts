// Owns `explain POD net`: what there is between a pod and the world.
import { CommandError } from '../error.ts';
import { getJson } from './agent-client.ts';
import { type ExplainedNet, renderExplainedNet } from './explain-net-text.ts';
import type { Invocation } from './flags.ts';
import { findPod, parsePodName } from './pod-name.ts';
import { readSettings } from './settings.ts';

/** Of GET /explain. */
interface Answer {
  readonly names?: ExplainedNet['names'];
  readonly sandbox: {
    readonly network?: ExplainedNet['network'] | { readonly problem: string };
    readonly info?: { readonly config?: { readonly dns_config?: Partial<ExplainedNet['dns']> } };
  } | null;
}

export async function explainNet({ flags, words }: Invocation, usage: string): Promise<number> {
  const settings = readSettings(flags);
  const target = parsePodName(words[0], flags, usage);
  const pod = await findPod(settings, target);
  const { namespace, name } = target;
  if (pod.spec?.hostNetwork)
    throw new CommandError(`pod ${name} has hostNetwork: it is in this machine's own network, which 'ip addr' and 'ip route' show`);
  const { sandbox, names } = await getJson<Answer>(settings, `/${['explain', namespace, name].map(encodeURIComponent).join('/')}`);
  const network = sandbox?.network;
  if (network === undefined)
    throw new CommandError(
      `pod ${name} is in no network that this runtime knows; 'tskubelet get pods -o wide' says whether it has an address`,
    );
  if ('problem' in network) throw new CommandError(`the network of pod ${name} cannot be looked at: ${network.problem}`);
  const { servers = [], searches = [], options = [] } = sandbox?.info?.config?.dns_config ?? {};
  const explained: ExplainedNet = { namespace, pod: name, network, dns: { servers, searches, options }, names };
  process.stdout.write(flags.output === 'json' ? `${JSON.stringify(explained, null, 2)}\n` : renderExplainedNet(explained));
  return 0;
}
