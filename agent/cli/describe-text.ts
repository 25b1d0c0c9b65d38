// Owns what `describe pod` says. Pure.
import type {
  V1Container,
  V1ContainerState,
  V1ContainerStatus,
  V1EnvVar,
  V1Pod,
  V1PodCondition,
  V1Probe,
  V1Toleration,
  V1Volume,
} from '@kubernetes/client-node';
import { describePull } from '../image/pulls.ts';
import { podStatus } from './get.ts';
import type { PodPull } from './image-pulls.ts';
import { renderAge, renderTable } from './table.ts';

export interface PodEventRow {
  readonly type: string;
  readonly reason: string;
  readonly message: string;
  readonly namespace?: string;
  readonly pod?: string;
  readonly container?: string;
  readonly time: string;
}

export interface DescribeInput {
  readonly events: readonly PodEventRow[];
  readonly pulls: readonly PodPull[];
  readonly nowMs: number;
}

/** A name with its value, or with the lines below it; "" for lines without a name. */
type Field = readonly [name: string, value: string | readonly Field[]];

const NONE = '<none>';
const INDENT = '  ';

/** Values stand under each other within one block; a block of its own starts on the next line, further in. */
function renderFields(fields: readonly Field[], indent = ''): readonly string[] {
  const width = Math.max(0, ...fields.filter(([, value]) => typeof value === 'string').map(([name]) => name.length)) + 2;
  return fields.flatMap(([name, value]) => {
    if (typeof value !== 'string') return [`${indent}${name}:`, ...renderFields(value, indent + INDENT)];
    const [first = '', ...more] = value.split('\n');
    if (name === '') return [first, ...more].map((line) => `${indent}${line}`);
    const head = `${indent}${`${name}:`.padEnd(width)}`;
    return [`${head}${first}`.trimEnd(), ...more.map((line) => `${' '.repeat(head.length)}${line}`)];
  });
}

export function renderPod(pod: V1Pod, { events, pulls, nowMs }: DescribeInput): string {
  const { metadata = {}, spec, status } = pod;
  const isOwn = (of: { namespace?: string; pod?: string }) => of.namespace === metadata.namespace && of.pod === metadata.name;
  const ownPulls = pulls.filter(isOwn);
  const head: Field[] = [
    ['Name', metadata.name ?? ''],
    ['Namespace', metadata.namespace ?? ''],
    ['UID', metadata.uid ?? ''],
    ...optional('Priority Class Name', spec?.priorityClassName),
    ...optional('Runtime Class Name', spec?.runtimeClassName),
    ['Node', [spec?.nodeName, status?.hostIP].filter(Boolean).join('/')],
    ['Start Time', renderTime(status?.startTime)],
    ['Labels', renderMap(metadata.labels, '=')],
    ['Annotations', renderMap(metadata.annotations, ': ')],
    ['Status', statusWords(pod, ownPulls)],
    ...optional('Termination Grace Period', metadata.deletionTimestamp && `${metadata.deletionGracePeriodSeconds ?? 30}s`),
    ...optional('Reason', status?.reason),
    ...optional('Message', status?.message),
    ['IP', status?.podIP ?? ''],
    ['IPs', (status?.podIPs ?? []).length === 0 ? NONE : (status?.podIPs ?? []).map(({ ip }) => ['IP', ip ?? ''] as const)],
    ...optional('Host Network', spec?.hostNetwork && 'true'),
    ...optional('Host PID', spec?.hostPID && 'true'),
    ...optional('Host IPC', spec?.hostIPC && 'true'),
    ...optional('Host Users', spec?.hostUsers === false && 'false'),
    ['Restart Policy', spec?.restartPolicy ?? ''],
  ];
  const containers = (list: readonly V1Container[] | undefined, statuses: readonly V1ContainerStatus[] | undefined): Field[] =>
    (list ?? []).map((container) => [
      container.name,
      describeContainer(
        container,
        statuses?.find(({ name }) => name === container.name),
        ownPulls,
      ),
    ]);
  const body: Field[] = [
    ...((spec?.initContainers ?? []).length === 0
      ? []
      : [['Init Containers', containers(spec?.initContainers, status?.initContainerStatuses)] as const]),
    ['Containers', containers(spec?.containers, status?.containerStatuses)],
  ];
  const tail: Field[] = [
    ['Volumes', (spec?.volumes ?? []).length === 0 ? NONE : (spec?.volumes ?? []).map((volume) => [volume.name, describeVolume(volume)])],
    ['QoS Class', status?.qosClass ?? ''],
    ...optional('Node-Selectors', spec?.nodeSelector && renderMap(spec.nodeSelector, '=')),
    ...optional('Tolerations', spec?.tolerations?.map(renderToleration).join('\n')),
  ];
  const lines = [
    ...renderFields(head),
    ...body.flatMap((field) => renderFields([field])),
    ...renderConditions(status?.conditions ?? []),
    ...renderFields(tail),
    ...renderEvents(events.filter(isOwn), nowMs),
  ];
  return `${lines.join('\n')}\n`;
}

function optional(name: string, value: string | false | undefined): Field[] {
  return value === undefined || value === false || value === '' ? [] : [[name, value]];
}

function statusWords(pod: V1Pod, pulls: readonly PodPull[]): string {
  const phase = pod.status?.phase ?? 'Unknown';
  const words = podStatus(pod, pulls);
  return words === phase ? phase : `${phase} (${words})`;
}

function renderMap(map: Readonly<Record<string, string>> | undefined, between: string): string {
  const entries = Object.entries(map ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  // What a tool keeps for itself of a manifest says nothing that the manifest does not.
  const told = entries.filter(([key]) => key !== 'kubectl.kubernetes.io/last-applied-configuration');
  return told.length === 0 ? NONE : told.map(([key, value]) => `${key}${between}${value.replaceAll('\n', ' ')}`).join('\n');
}

/** "Fri, 27 Nov 2026 10:00:00 +0000" */
function renderTime(time: Date | string | undefined): string {
  if (time === undefined) return '';
  return new Date(time).toUTCString().replace('GMT', '+0000');
}

function describeContainer(container: V1Container, status: V1ContainerStatus | undefined, pulls: readonly PodPull[]): Field[] {
  const { command, args, env, envFrom, ports = [], resources = {}, volumeMounts = [], volumeDevices } = container;
  const port = (field: 'containerPort' | 'hostPort') => ports.map((one) => `${one[field] ?? 0}/${one.protocol ?? 'TCP'}`).join(', ');
  const pull = pulls.find((candidate) => candidate.container === container.name);
  const list = (values: readonly string[]): Field[] => [['', values.join('\n')]];
  return [
    ['Container ID', status?.containerID ?? ''],
    ['Image', container.image ?? ''],
    ['Image ID', status?.imageID ?? ''],
    [ports.length > 1 ? 'Ports' : 'Port', ports.length === 0 ? NONE : port('containerPort')],
    [ports.length > 1 ? 'Host Ports' : 'Host Port', ports.length === 0 ? NONE : port('hostPort')],
    ...(command === undefined ? [] : [['Command', list(command)] as const]),
    ...(args === undefined ? [] : [['Args', list(args)] as const]),
    ...describeState('State', status?.state),
    ...optional('Progress', pull && describePull(pull)),
    ...(status?.lastState?.terminated === undefined ? [] : describeState('Last State', status.lastState)),
    ['Ready', status?.ready ? 'True' : 'False'],
    ['Restart Count', String(status?.restartCount ?? 0)],
    ...resourceFields('Limits', resources.limits),
    ...resourceFields('Requests', resources.requests),
    ...probeField('Liveness', container.livenessProbe),
    ...probeField('Readiness', container.readinessProbe),
    ...probeField('Startup', container.startupProbe),
    ...((envFrom ?? []).length === 0
      ? []
      : [
          [
            'Environment Variables from',
            (envFrom ?? []).map(({ configMapRef, secretRef, prefix }) => [
              configMapRef?.name ?? secretRef?.name ?? '',
              `${configMapRef === undefined ? 'Secret' : 'ConfigMap'}${prefix === undefined ? '' : ` with prefix '${prefix}'`}`,
            ]) as Field[],
          ] as const,
        ]),
    ['Environment', (env ?? []).length === 0 ? NONE : (env ?? []).map((one) => [one.name, envValue(one)] as const)],
    [
      'Mounts',
      volumeMounts.length === 0
        ? NONE
        : [
            [
              '',
              volumeMounts
                .map(({ mountPath, name, readOnly, subPath }) => {
                  const path = subPath === undefined ? '' : `,path="${subPath}"`;
                  return `${mountPath} from ${name} (${readOnly ? 'ro' : 'rw'}${path})`;
                })
                .join('\n'),
            ] as const,
          ],
    ],
    ...((volumeDevices ?? []).length === 0
      ? []
      : [['Devices', list((volumeDevices ?? []).map(({ devicePath, name }) => `${devicePath} from ${name}`))] as const]),
  ];
}

function describeState(name: string, state: V1ContainerState | undefined): Field[] {
  if (state?.running !== undefined)
    return [
      [name, 'Running'],
      [`${INDENT}Started`, renderTime(state.running.startedAt)],
    ];
  if (state?.terminated !== undefined) {
    const { reason = '', message, exitCode, signal, startedAt, finishedAt } = state.terminated;
    return [
      [name, 'Terminated'],
      ...optional(`${INDENT}Reason`, reason),
      ...optional(`${INDENT}Message`, message?.trimEnd()),
      [`${INDENT}Exit Code`, String(exitCode)],
      ...optional(`${INDENT}Signal`, signal === undefined ? undefined : String(signal)),
      [`${INDENT}Started`, renderTime(startedAt)],
      [`${INDENT}Finished`, renderTime(finishedAt)],
    ];
  }
  const { reason, message } = state?.waiting ?? {};
  // A pull has a line of its own.
  const own = reason === 'ContainerCreating' && message?.startsWith('pulling image ') ? undefined : message;
  return [[name, 'Waiting'], ...optional(`${INDENT}Reason`, reason), ...optional(`${INDENT}Message`, own?.trimEnd())];
}

function resourceFields(name: string, quantities: Readonly<Record<string, string>> | undefined): Field[] {
  const entries = Object.entries(quantities ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  return entries.length === 0 ? [] : [[name, entries]];
}

function probeField(name: string, probe: V1Probe | undefined): Field[] {
  if (probe === undefined) return [];
  const { exec, httpGet, tcpSocket, grpc } = probe;
  const what =
    exec !== undefined
      ? `exec [${(exec.command ?? []).join(' ')}]`
      : httpGet !== undefined
        ? `http-get ${(httpGet.scheme ?? 'HTTP').toLowerCase()}://${httpGet.host ?? ''}:${httpGet.port}${httpGet.path ?? '/'}`
        : tcpSocket !== undefined
          ? `tcp-socket ${tcpSocket.host ?? ''}:${tcpSocket.port}`
          : `grpc :${grpc?.port ?? ''}`;
  const { initialDelaySeconds = 0, timeoutSeconds = 1, periodSeconds = 10, successThreshold = 1, failureThreshold = 3 } = probe;
  const times = `delay=${initialDelaySeconds}s timeout=${timeoutSeconds}s period=${periodSeconds}s`;
  return [[name, `${what} ${times} #success=${successThreshold} #failure=${failureThreshold}`]];
}

/** A secret's value is never said, only where it comes from. */
function envValue({ value, valueFrom }: V1EnvVar): string {
  const { configMapKeyRef, secretKeyRef, fieldRef, resourceFieldRef } = valueFrom ?? {};
  const optionally = (ref: { optional?: boolean }) => ` Optional: ${ref.optional ?? false}`;
  if (configMapKeyRef !== undefined)
    return `<set to the key '${configMapKeyRef.key}' of config map '${configMapKeyRef.name}'>${optionally(configMapKeyRef)}`;
  if (secretKeyRef !== undefined)
    return `<set to the key '${secretKeyRef.key}' in secret '${secretKeyRef.name}'>${optionally(secretKeyRef)}`;
  if (fieldRef !== undefined) return `(${fieldRef.apiVersion ?? 'v1'}:${fieldRef.fieldPath})`;
  if (resourceFieldRef !== undefined) return `(${resourceFieldRef.resource})`;
  return (value ?? '').replaceAll('\n', '\\n');
}

/** The volume's own words: its kind, and the fields that its manifest gives. */
function describeVolume(volume: V1Volume): Field[] {
  const source = Object.entries(volume).find(([key, value]) => key !== 'name' && value !== undefined);
  if (source === undefined) return [['Type', 'EmptyDir']];
  const [kind, fields] = source as [string, Readonly<Record<string, unknown>>];
  const title = (name: string) => `${name.charAt(0).toUpperCase()}${name.slice(1)}`;
  const simple = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null);
  return [
    ['Type', title(kind)],
    ...simple.map(([name, value]): Field => [title(name), typeof value === 'object' ? JSON.stringify(value) : String(value)]),
  ];
}

function renderToleration({ key, operator, value, effect, tolerationSeconds }: V1Toleration): string {
  const what = `${key ?? ''}${value === undefined || value === '' ? '' : `=${value}`}${effect === undefined ? '' : `:${effect}`}`;
  const how = operator === 'Exists' ? ' op=Exists' : '';
  return `${what}${how}${tolerationSeconds === undefined ? '' : ` for ${tolerationSeconds}s`}`;
}

function renderConditions(conditions: readonly V1PodCondition[]): readonly string[] {
  if (conditions.length === 0) return [`Conditions: ${NONE}`];
  const anyReason = conditions.some(({ reason, message }) => reason !== undefined || message !== undefined);
  const rows = conditions.map(({ type, status, reason = '', message = '' }) => [type, status, ...(anyReason ? [reason, message] : [])]);
  return ['Conditions:', ...indented(renderTable(['Type', 'Status', ...(anyReason ? ['Reason', 'Message'] : [])], rows))];
}

/** Events that repeat are told once, with how often and since when. */
function renderEvents(events: readonly PodEventRow[], nowMs: number): readonly string[] {
  if (events.length === 0) return [`Events: ${NONE}`];
  const groups = new Map<string, { readonly first: PodEventRow; last: PodEventRow; count: number }>();
  for (const event of events) {
    const key = JSON.stringify([event.type, event.reason, event.container, event.message]);
    const group = groups.get(key);
    // Taken out and put back: the order is that of the last time.
    groups.delete(key);
    groups.set(key, group === undefined ? { first: event, last: event, count: 1 } : { ...group, last: event, count: group.count + 1 });
  }
  const ago = ({ time }: PodEventRow) => renderAge(nowMs - Date.parse(time));
  const rows = [...groups.values()].map(({ first, last, count }) => [
    last.type,
    last.reason,
    count === 1 ? ago(last) : `${ago(last)} (x${count} over ${ago(first)})`,
    last.container ?? '',
    last.message.trimEnd().replaceAll('\n', ' '),
  ]);
  return ['Events:', ...indented(renderTable(['Type', 'Reason', 'Age', 'Container', 'Message'], rows))];
}

const indented = (table: string) =>
  table
    .trimEnd()
    .split('\n')
    .map((line) => `${INDENT}${line}`);
