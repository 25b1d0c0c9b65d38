// Owns pods that live as long as somebody waits for them: those of `tskubelet run`, over POST /run or in the same process.
//
//   text ─▶ parse ─▶ problem* ─▶ admitted* ─▶ status* ─▶ finished* ─▶ done (exit code) ─▶ remove() ─▶ removed* ─▶ end
import type { V1Pod } from '@kubernetes/client-node';
import { parseManifest } from '../manifest/manifest.ts';
import type { Pods } from '../pod/pods.ts';
import { renderProblem } from '../source/render-problem.ts';
import type { DesiredPod, Problem } from '../source/source.ts';
import { isFinished } from '../status/status.ts';

export type RunEvent =
  | { readonly type: 'run'; readonly id: string }
  | { readonly type: 'problem'; readonly severity: Problem['severity']; readonly message: string }
  | { readonly type: 'admitted'; readonly namespace: string; readonly name: string; readonly uid: string }
  | { readonly type: 'status'; readonly namespace: string; readonly name: string; readonly pod: V1Pod }
  | { readonly type: 'finished'; readonly namespace: string; readonly name: string; readonly phase: string; readonly exitCode: number }
  /** Every admitted pod has finished; 125 when a document was refused or nothing was admitted. The pods stay for their logs. */
  | { readonly type: 'done'; readonly exitCode: number }
  | { readonly type: 'removed'; readonly namespace: string; readonly name: string };

export interface Run {
  readonly id: string;
  /** Ends what still runs, gracefully; resolves when nothing of the pods is left. Idempotent. */
  remove(): Promise<void>;
  /** Resolves when somebody's remove() has done its work. */
  readonly ended: Promise<void>;
}

export interface RunOptions {
  readonly pods: Pods;
  readonly nodeName: string;
  /** Where the text is from, for messages and UIDs. */
  readonly file: string;
  readonly onEvent: (event: RunEvent) => void;
  readonly onEnd: (run: Run) => void;
}

/** Its own failures, as the exit code of `run`. */
const OWN_FAILURE = 125;

/** The first container that ended with another code than 0 decides, in the order of the spec. */
export function exitCodeOf({ status }: V1Pod): number {
  const codes = (status?.containerStatuses ?? []).map(({ state }) => state?.terminated?.exitCode ?? 0);
  return codes.find((code) => code !== 0) ?? 0;
}

let count = 0;

export function startRun(text: string, { pods, nodeName, file, onEvent, onEnd }: RunOptions): Run {
  const id = String(++count);
  const source = `run ${id}`;
  const manifest = parseManifest(text, { file, nodeName, source: 'run' });
  const left = new Map<string, { namespace: string; name: string }>();
  const codes = new Map<string, number>();
  const admitted: DesiredPod[] = [];
  let refused = manifest.problems.some(({ severity }) => severity === 'refused');
  let removed: Promise<void> | undefined;
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();

  const checkDone = () => {
    if (codes.size < admitted.length) return;
    const first = admitted.map(({ pod }) => codes.get(pod.metadata?.uid ?? '') ?? 0).find((code) => code !== 0);
    onEvent({ type: 'done', exitCode: first ?? (refused || admitted.length === 0 ? OWN_FAILURE : 0) });
  };
  const unsubscribe = pods.subscribe((uid, what) => {
    const names = left.get(uid);
    const pod = pods.worker(uid)?.view();
    if (names === undefined) return;
    if (what === 'gone') {
      left.delete(uid);
      onEvent({ type: 'removed', ...names });
      if (left.size === 0) end();
    } else if (pod !== undefined) {
      onEvent({ type: 'status', ...names, pod });
      if (!isFinished(pod.status) || codes.has(uid)) return;
      codes.set(uid, exitCodeOf(pod));
      onEvent({ type: 'finished', ...names, phase: pod.status?.phase ?? '', exitCode: exitCodeOf(pod) });
      checkDone();
    }
  });
  const run: Run = {
    id,
    ended,
    remove() {
      if (removed === undefined) {
        removed = ended.then(() => {
          unsubscribe();
          onEnd(run);
        });
        pods.removeSource(source);
        if (left.size === 0) end();
      }
      return removed;
    },
  };

  onEvent({ type: 'run', id });
  for (const problem of manifest.problems) onEvent({ type: 'problem', severity: problem.severity, message: renderProblem(problem) });
  for (const desired of manifest.pods) {
    const { namespace = 'default', name = '', uid = '' } = desired.pod.metadata ?? {};
    const other = pods.find(namespace, name);
    if (other !== undefined && !other.removed) {
      refused = true;
      const where = other.desired === undefined ? 'this node' : other.desired.origin.file;
      const message = `pod ${namespace}/${name} runs already, from ${where}: rename one of them, or remove that one first`;
      onEvent({ type: 'problem', severity: 'refused', message });
      continue;
    }
    admitted.push(desired);
    left.set(uid, { namespace, name });
    onEvent({ type: 'admitted', namespace, name, uid });
  }
  pods.update(source, { pods: admitted, problems: [] });
  if (admitted.length === 0) checkDone();
  return run;
}
