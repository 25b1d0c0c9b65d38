// Owns what the agent answers over HTTP. Commands come over <run-dir>/agent.sock (root only); the read-only port has the first table.
//
//   GET    /healthz                                         ok
//   GET    /pods                                            v1.PodList, with status
//   GET    /metrics                                         Prometheus text
//   GET    /containerLogs/{namespace}/{pod}/{container}     ?follow &previous &tailLines &limitBytes &sinceSeconds &timestamps
//
//   agent.sock only:
//   GET    /version                                         {version, node, runtime{name, version}}
//   GET    /problems                                        [{severity, file, document, line?, fieldPath?, message, text}]
//   GET    /events                                          [{type, reason, message, namespace?, pod?, container?, time}], oldest first
//   GET    /imagePulls                                      pulls under way: [{namespace, pod, container, image, transfer, layers[]}]
//   GET    /explain/{namespace}/{pod}                       ?container; {sandbox{info, program}, containers[{name, id, info, program}]}
//   POST   /run                                             ?file; manifest → one RunEvent per line (run.ts); closing it removes the pods
//   DELETE /run/{id}                                        ends a run; answers when nothing of its pods is left
//
//   agent.sock only, upgraded to WebSocket or SPDY/3.1 (streams.ts):
//          /exec/{namespace}/{pod}/{container}              ?command=…&command=… &input=1 &output=1 &error=1 &tty=1
//          /attach/{namespace}/{pod}/{container}            ?input=1 &output=1 &error=1 &tty=1
//          /portForward/{namespace}/{pod}                   ?port=… (for WebSocket: one pair of channels each)
import type { EventLog } from '../event/events.ts';
import type { ImagePulls } from '../image/pulls.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { NodePaths } from '../pod/paths.ts';
import type { Pods } from '../pod/pods.ts';
import { renderProblem } from '../source/render-problem.ts';
import { type ServedExplain, serveExplain } from './explain.ts';
import { type Exchange, HttpError, type Route, readBody, sendJson, sendText } from './http.ts';
import { renderJson } from './json.ts';
import { serveLogs } from './logs.ts';
import type { Run, RunEvent } from './run.ts';

export interface Served extends ServedExplain {
  readonly nodeName: string;
  readonly version: string;
  readonly runtime: { readonly name: string; readonly version: string };
  readonly metrics: Metrics;
  readonly events: EventLog;
  readonly pulls: ImagePulls;
  readonly paths: NodePaths;
  readonly runs: ReadonlyMap<string, Run>;
  readonly startRun: (text: string, file: string, onEvent: (event: RunEvent) => void) => Run;
}

/** For whoever may connect to 127.0.0.1. */
export function readOnlyRoutes(served: Served): readonly Route[] {
  const { pods, metrics } = served;
  return [
    { method: 'GET', path: '/healthz', serve: ({ response }) => sendText(response, 'ok') },
    {
      method: 'GET',
      path: '/pods',
      serve: ({ response }) => sendJson(response, { kind: 'PodList', apiVersion: 'v1', metadata: {}, items: listPods(pods) }),
    },
    {
      method: 'GET',
      path: '/metrics',
      serve: async ({ response }) => sendText(response, await metrics.registry.metrics(), 200, metrics.registry.contentType),
    },
    {
      method: 'GET',
      path: '/containerLogs/{namespace}/{pod}/{container}',
      serve: (exchange) => serveLogs(exchange, pods, served.paths),
    },
  ];
}

function listPods(pods: Pods) {
  return pods
    .list()
    .map((worker) => worker.view())
    .filter((pod) => pod !== undefined);
}

/** For root, over the socket. */
export function socketRoutes(served: Served): readonly Route[] {
  const { pods, nodeName, version, runtime } = served;
  return [
    ...readOnlyRoutes(served),
    { method: 'GET', path: '/version', serve: ({ response }) => sendJson(response, { version, node: nodeName, runtime }) },
    { method: 'GET', path: '/problems', serve: ({ response }) => sendJson(response, renderProblems(pods)) },
    { method: 'GET', path: '/events', serve: ({ response }) => sendJson(response, renderEvents(served.events)) },
    { method: 'GET', path: '/imagePulls', serve: ({ response }) => sendJson(response, renderPulls(served)) },
    { method: 'GET', path: '/explain/{namespace}/{pod}', serve: (exchange) => serveExplain(exchange, served) },
    { method: 'POST', path: '/run', serve: (exchange) => serveRun(exchange, served) },
    { method: 'DELETE', path: '/run/{id}', serve: (exchange) => serveRemove(exchange, served) },
  ];
}

function renderProblems(pods: Pods) {
  return pods.problems.map((problem) => {
    const { origin, ...rest } = problem;
    return { ...rest, file: origin.file, document: origin.document, text: renderProblem(problem) };
  });
}

function renderEvents(events: EventLog) {
  return events.list().map(({ pod, atMs, ...event }) => ({
    ...event,
    ...(pod === undefined ? {} : { namespace: pod.namespace, pod: pod.name }),
    time: new Date(atMs).toISOString(),
  }));
}

function renderPulls({ pulls, pods }: Served) {
  return pulls.list().flatMap(({ uid, startedMs, ...pull }) => {
    const { namespace, name: pod } = pods.worker(uid)?.pod ?? {};
    return pod === undefined ? [] : [{ namespace, pod, ...pull, startedAt: new Date(startedMs) }];
  });
}

async function serveRun({ request, response, query, signal }: Exchange, served: Served): Promise<void> {
  const text = (await readBody(request)).toString('utf8');
  response.writeHead(200, { 'content-type': 'application/x-ndjson' });
  const run = served.startRun(text, query.get('file') ?? 'run', (event) => void response.write(`${renderJson(event)}\n`));
  const gone = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  if (signal.aborted) return run.remove();
  await Promise.race([gone, run.ended]);
  await run.remove();
  response.end();
}

async function serveRemove({ response, params }: Exchange, { runs }: Served): Promise<void> {
  const run = runs.get(params.id ?? '');
  if (run === undefined) throw new HttpError(404, `there is no run ${params.id}`);
  await run.remove();
  sendText(response, '', 204);
}
