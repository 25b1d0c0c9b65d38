// --config FILE: a KubeletConfiguration, strictly decoded. Flags win over what it says; the caller merges.
import fs from 'node:fs/promises';
import { decodeObject, type Vocabulary } from '../manifest/decode-object.ts';
import type { FieldProblem } from '../manifest/field-problem.ts';
import { checkAbsolutePath } from '../manifest/syntax.ts';
import { lineOf, parseYaml, type YamlMapping, type YamlNode } from '../manifest/yaml.ts';
import { parseDurationMs } from './duration.ts';
import { configObjects } from './schema.ts';

/** What is acted on, in units; absent where the file says nothing. */
export interface KubeletConfig {
  readonly staticPodPath?: string;
  readonly fileCheckFrequencyMs?: number;
  readonly podLogsDir?: string;
  readonly cgroupRoot?: string;
  readonly podCidr?: string;
  readonly clusterDns?: readonly string[];
  readonly clusterDomain?: string;
  readonly resolvConf?: string;
  readonly readOnlyPort?: number;
  readonly containerRuntimeEndpoint?: string;
  readonly streamingConnectionIdleTimeoutMs?: number;
  readonly imageGcHighThresholdPercent?: number;
  readonly imageGcLowThresholdPercent?: number;
  readonly imageMinimumGcAgeMs?: number;
  readonly imageMaximumGcAgeMs?: number;
}

export interface ConfigProblem extends FieldProblem {
  readonly line?: number;
}

export interface ReadConfig {
  readonly config: KubeletConfig;
  /** A refused one means that the file must not be used. */
  readonly problems: readonly ConfigProblem[];
}

const vocabulary: Vocabulary = {
  objects: configObjects,
  laterMessage: 'not yet acted on; tskubelet goes by its own default',
  homes: [],
};

/** Throws a sentence when the file cannot be read. */
export async function readKubeletConfig(file: string): Promise<ReadConfig> {
  try {
    return parseKubeletConfig(await fs.readFile(file));
  } catch (error) {
    throw new Error(`read the configuration ${file}`, { cause: error });
  }
}

export function parseKubeletConfig(text: Uint8Array | string): ReadConfig {
  const [document, ...others] = parseYaml(text);
  if (!document) return refuse('the file is empty');
  if (document.problems.length > 0 || !document.root) {
    return { config: {}, problems: document.problems.map((problem) => ({ fieldPath: '', severity: 'refused', ...problem })) };
  }
  const { root } = document;
  if (others.length > 0) return refuse('the file holds several documents; a KubeletConfiguration stands alone');
  const wrongKind = checkKind(root);
  if (wrongKind || root.kind !== 'mapping') return refuse(wrongKind ?? '', root);
  const { value, problems } = decodeObject(vocabulary, 'KubeletConfiguration', root, '');
  const found: FieldProblem[] = [
    ...problems.filter(({ fieldPath, severity }) => !(severity === 'later' && isZeroDuration(root, fieldPath))),
  ];
  const config = toConfig(value, (fieldPath, message) => found.push({ fieldPath, severity: 'refused', message }));
  return { config, problems: found.map((problem) => locate(root, problem)) };
}

/** "file, line 3: maxPods: not yet acted on; …" */
export function renderConfigProblem(file: string, { line, fieldPath, message }: ConfigProblem): string {
  return [`${file}${line === undefined ? '' : `, line ${line}`}`, ...(fieldPath === '' ? [] : [fieldPath]), message].join(': ');
}

function refuse(message: string, root?: YamlNode): ReadConfig {
  return { config: {}, problems: [locate(root, { fieldPath: '', severity: 'refused', message })] };
}

function locate(root: YamlNode | undefined, problem: FieldProblem): ConfigProblem {
  const line = lineOf(root, problem.fieldPath);
  return line === undefined ? problem : { ...problem, line };
}

function scalarAt(root: YamlMapping, name: string): unknown {
  const value = root.entries.get(name)?.value;
  return value?.kind === 'scalar' ? value.value : undefined;
}

function checkKind(root: YamlNode): string | undefined {
  const wanted = 'apiVersion: kubelet.config.k8s.io/v1beta1 and kind: KubeletConfiguration';
  if (root.kind !== 'mapping') return `the file is no object; it starts with ${wanted}`;
  const [apiVersion, kind] = [scalarAt(root, 'apiVersion'), scalarAt(root, 'kind')];
  if (apiVersion === 'kubelet.config.k8s.io/v1beta1' && kind === 'KubeletConfiguration') return undefined;
  return `it starts with apiVersion: ${apiVersion ?? 'nothing'} and kind: ${kind ?? 'nothing'}; expected ${wanted}`;
}

// kubeadm writes every duration that nobody set as 0s, which means the default.
function isZeroDuration(root: YamlMapping, fieldPath: string): boolean {
  const text = scalarAt(root, fieldPath);
  return typeof text === 'string' && /[a-z]$/.test(text) && parseDurationMs(text) === 0;
}

/** value: decoded, so each field that is there has its type. */
function toConfig(value: Record<string, unknown>, report: (fieldPath: string, message: string) => void): KubeletConfig {
  const text = (name: string) => (value[name] as string | undefined) || undefined;
  for (const name of ['staticPodPath', 'podLogsDir', 'cgroupRoot']) {
    const wrong = text(name) === undefined ? undefined : checkAbsolutePath(text(name) ?? '');
    if (wrong) report(name, wrong);
  }
  const readOnlyPort = value.readOnlyPort as number | undefined;
  if (readOnlyPort !== undefined && (readOnlyPort < 0 || readOnlyPort > 65535)) {
    report('readOnlyPort', `${readOnlyPort} is not a port; ports are 1 to 65535, and 0 switches it off`);
  }
  const duration = (name: string) => {
    const written = text(name);
    const ms = written === undefined ? undefined : parseDurationMs(written);
    if (written !== undefined && (ms === undefined || ms < 0))
      report(name, `${JSON.stringify(written)} is not a duration; write it like 20s or 1m30s`);
    return ms === 0 ? undefined : ms;
  };
  const percent = (name: string) => {
    const written = value[name] as number | undefined;
    if (written !== undefined && (written < 0 || written > 100)) report(name, `${written} is no percentage; it is 0 to 100`);
    return written;
  };
  return withoutAbsent({
    staticPodPath: text('staticPodPath'),
    fileCheckFrequencyMs: duration('fileCheckFrequency'),
    podLogsDir: text('podLogsDir'),
    cgroupRoot: text('cgroupRoot'),
    podCidr: text('podCIDR'),
    clusterDns: (value.clusterDNS as readonly string[] | undefined)?.length ? (value.clusterDNS as readonly string[]) : undefined,
    clusterDomain: text('clusterDomain'),
    // Empty is a value of its own: none.
    resolvConf: value.resolvConf as string | undefined,
    readOnlyPort,
    containerRuntimeEndpoint: text('containerRuntimeEndpoint'),
    streamingConnectionIdleTimeoutMs: duration('streamingConnectionIdleTimeout'),
    imageGcHighThresholdPercent: percent('imageGCHighThresholdPercent'),
    imageGcLowThresholdPercent: percent('imageGCLowThresholdPercent'),
    imageMinimumGcAgeMs: duration('imageMinimumGCAge'),
    imageMaximumGcAgeMs: duration('imageMaximumGCAge'),
  });
}

type Defined<T> = { readonly [Name in keyof T]?: Exclude<T[Name], undefined> };

function withoutAbsent<T extends object>(object: T): Defined<T> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as Defined<T>;
}
