// One manifest, from text to pods and problems: the only way from YAML into the agent.
import type { V1Pod } from '@kubernetes/client-node';
import type { DesiredPod, Origin, Problem, SourceUpdate } from '../source/source.ts';
import { decodePod } from './decode.ts';
import { applyDefaults } from './defaults.ts';
import { didYouMean, type FieldProblem, fieldOf } from './field-problem.ts';
import { computeHash, namePod, type Placement } from './names.ts';
import { validatePod } from './validate.ts';
import { lineOf, parseYaml, plainValue, type YamlDocument, type YamlEntry, type YamlMapping, type YamlNode } from './yaml.ts';

export interface ManifestContext {
  readonly file: string;
  readonly nodeName: string;
  readonly source: Origin['source'];
  /** Default: now. */
  readonly seen?: Date;
}

export interface Manifest extends SourceUpdate {
  /** Documents that were refused, with the names that could still be read: what last ran under them may go on. */
  readonly refused: readonly RefusedDocument[];
  /** Nothing but white space: more likely a file that is being written than a wish. */
  readonly blank: boolean;
}

export interface RefusedDocument {
  readonly document: number;
  readonly namespace?: string;
  readonly name?: string;
}

/** Throws nothing: whatever the text is, it gives pods or problems. Never more than one pod of a name. */
export function parseManifest(text: Uint8Array | string, context: ManifestContext): Manifest {
  const reading = new Reading(context);
  for (const document of parseYaml(text)) reading.readDocument(document);
  const blank = text.length < 1024 && (typeof text === 'string' ? text : Buffer.from(text).toString()).trim() === '';
  return { pods: reading.pods, problems: reading.problems, refused: reading.refused, blank };
}

class Reading {
  readonly pods: DesiredPod[] = [];
  readonly problems: Problem[] = [];
  readonly refused: RefusedDocument[] = [];
  private readonly context: ManifestContext;
  private readonly seen: Date;
  private document = 0;

  constructor(context: ManifestContext) {
    this.context = context;
    this.seen = context.seen ?? new Date();
  }

  readDocument(yaml: YamlDocument): void {
    if (yaml.problems.length > 0 || !yaml.root) {
      this.refuse(
        yaml.root,
        yaml.problems.map((problem) => ({ severity: 'refused', ...problem })),
      );
      return;
    }
    this.readObject(yaml.root, yaml.root, '');
  }

  /** node: the object at `path` of the document `root`. */
  private readObject(root: YamlNode, node: YamlNode, path: string): void {
    const wrong =
      node.kind === 'mapping' ? checkKind(node, path) : { fieldPath: path, message: 'a manifest is an object with apiVersion and kind' };
    if (wrong || node.kind !== 'mapping') {
      if (wrong) this.refuse(node, [locate(root, { severity: 'refused', ...wrong })]);
      return;
    }
    const kind = scalarAt(node, 'kind');
    if (kind === 'Pod') {
      this.readPod(root, node, path);
      return;
    }
    const itemsPath = fieldOf(path, 'items');
    const items = entryOf(node, 'items')?.value;
    if (items?.kind !== 'sequence') {
      this.refuse(node, [locate(root, { severity: 'refused', fieldPath: itemsPath, message: `a ${kind} has its pods in a list here` })]);
      return;
    }
    for (const [index, item] of items.items.entries()) {
      const itemPath = `${itemsPath}[${index}]`;
      if (kind === 'PodList' && item.kind === 'mapping' && !item.entries.has('kind')) this.readPod(root, item, itemPath);
      else this.readObject(root, item, itemPath);
    }
  }

  private readPod(root: YamlNode, node: YamlMapping, path: string): void {
    const { pod: decoded, problems } = decodePod(node, path);
    const pod = applyDefaults(decoded);
    const found = [...problems, ...validatePod(pod, path).filter(({ fieldPath }) => !isCovered(fieldPath, problems))];
    const located = found.map((problem) => locate(root, problem));
    const earlier = this.pods.find((other) => isNamed(other.pod, pod));
    if (earlier) {
      const message = `${pod.metadata?.namespace}/${pod.metadata?.name} is document ${earlier.origin.document} of this file already; rename one of them`;
      located.push(locate(root, { fieldPath: fieldOf(path, 'metadata.name'), severity: 'refused', message }));
    }
    if (located.some(({ severity }) => severity === 'refused')) {
      this.refuse(node, located);
      return;
    }
    const origin = this.nextOrigin();
    const elsewhere = decoded.spec?.nodeName;
    if (elsewhere && elsewhere !== this.context.nodeName) {
      const message = `${elsewhere} is another node; the pod runs on this one, ${this.context.nodeName}`;
      located.push(locate(root, { fieldPath: fieldOf(path, 'spec.nodeName'), severity: 'ignored', message }));
    }
    this.problems.push(...located.map((problem) => ({ origin, ...problem })));
    const hash = computeHash(decoded);
    const placement: Placement = { origin, nodeName: this.context.nodeName, seen: this.seen };
    this.pods.push({ pod: namePod(pod, hash, placement), hash, origin });
  }

  private nextOrigin(): Origin {
    this.document++;
    return { source: this.context.source, file: this.context.file, document: this.document };
  }

  private refuse(node: YamlNode | undefined, problems: readonly Omit<Problem, 'origin'>[]): void {
    const origin = this.nextOrigin();
    this.problems.push(...problems.map((problem) => ({ origin, ...problem })));
    this.refused.push({ document: origin.document, ...nameOf(node) });
  }
}

type Located = Omit<Problem, 'origin'>;

function locate(root: YamlNode, { fieldPath, severity, message }: FieldProblem): Located {
  const line = lineOf(root, fieldPath);
  return { severity, message, ...(fieldPath === '' ? {} : { fieldPath }), ...(line === undefined ? {} : { line }) };
}

/** Whether a refusal at the field, or within or around it, explains it already. */
function isCovered(fieldPath: string, problems: readonly FieldProblem[]): boolean {
  const within = (inner: string, outer: string) => inner === outer || inner.startsWith(`${outer}.`) || inner.startsWith(`${outer}[`);
  return problems.some(
    (problem) => problem.severity === 'refused' && (within(fieldPath, problem.fieldPath) || within(problem.fieldPath, fieldPath)),
  );
}

function isNamed(a: V1Pod, b: V1Pod): boolean {
  return a.metadata?.name === b.metadata?.name && a.metadata?.namespace === b.metadata?.namespace;
}

function entryOf(node: YamlNode | undefined, name: string): YamlEntry | undefined {
  return node?.kind === 'mapping' ? node.entries.get(name) : undefined;
}

function scalarAt(node: YamlNode | undefined, name: string): string | undefined {
  const value = entryOf(node, name)?.value;
  return value?.kind === 'scalar' && typeof value.value === 'string' ? value.value : undefined;
}

function nameOf(node: YamlNode | undefined): { namespace?: string; name?: string } {
  const metadata = entryOf(node, 'metadata')?.value;
  const name = scalarAt(metadata, 'name');
  return name ? { name, namespace: scalarAt(metadata, 'namespace') || 'default' } : {};
}

/** Kinds that hold a pod template, and where. */
const templates: Readonly<Record<string, string>> = {
  CronJob: 'spec.jobTemplate.spec.template',
  DaemonSet: 'spec.template',
  Deployment: 'spec.template',
  Job: 'spec.template',
  ReplicaSet: 'spec.template',
  ReplicationController: 'spec.template',
  StatefulSet: 'spec.template',
};

function checkKind(node: YamlMapping, path: string): { fieldPath: string; message: string } | undefined {
  const kind = scalarAt(node, 'kind');
  const kindPath = fieldOf(path, 'kind');
  if (!kind) {
    const given = entryOf(node, 'kind')?.value;
    const message = given
      ? `${JSON.stringify(plainValue(given))} is not a kind; write kind: Pod`
      : 'the kind is missing; a manifest starts with apiVersion: v1 and kind: Pod';
    return { fieldPath: kindPath, message };
  }
  if (!['Pod', 'PodList', 'List'].includes(kind)) {
    const meant = kind in templates ? undefined : didYouMean(kind, ['Pod', 'PodList', 'List', ...Object.keys(templates)]);
    const hint = templates[kind] ? `; put its ${templates[kind]} into a Pod` : meant ? `; did you mean ${meant}?` : '';
    return { fieldPath: kindPath, message: `kind ${kind} is not run from manifests, only Pod is${hint}` };
  }
  const apiVersion = scalarAt(node, 'apiVersion');
  if (apiVersion === 'v1') return undefined;
  const message = apiVersion ? `a ${kind} has apiVersion v1, not ${apiVersion}` : `the apiVersion is missing; write apiVersion: v1`;
  return { fieldPath: fieldOf(path, 'apiVersion'), message };
}
