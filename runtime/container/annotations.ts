// Owns the annotations of ours that say what CRI has no field for. A container's own wins over its sandbox's, which names the container:
//   tskubelet.dev/io.max.<container>:    "rbps=1Mi wbps=1Mi"   or "8:0 riops=100; 8:16 wbps=2M"
//   tskubelet.dev/io.weight.<container>: "200"
//   tskubelet.dev/rlimits.<container>:   "nofile=1024:4096 core=0"
import type { ContainerConfig, PodSandboxConfig } from '../../cri-proto/gen/api.ts';
import { invalidArgument } from '../errors.ts';
import { RLIM_INFINITY, RLIMITS } from '../program/defaults.ts';
import type { Rlimit } from '../program/spec.ts';

type Annotated = Pick<ContainerConfig, 'annotations' | 'metadata'>;

function find(
  kind: string,
  container: Annotated,
  sandbox: Pick<PodSandboxConfig, 'annotations'>,
): { key: string; value: string } | undefined {
  const own = `tskubelet.dev/${kind}`;
  const named = `${own}.${container.metadata?.name}`;
  const key = container.annotations[own] !== undefined ? own : named;
  const value = container.annotations[own] ?? sandbox.annotations[named];
  return value === undefined ? undefined : { key, value };
}

const SUFFIXES: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  Ki: 1024,
  Mi: 1024 ** 2,
  Gi: 1024 ** 3,
};

function amount(key: string, text: string): string {
  if (text === 'max') return text;
  const [, digits, suffix = ''] = /^(\d+)([kMG]|[KMG]i)?$/.exec(text) ?? [];
  const value = Number(digits) * (SUFFIXES[suffix] ?? 1);
  if (digits === undefined || value === 0)
    throw invalidArgument(`annotation ${key}: "${text}" is neither max nor a number such as 1048576 or 1Mi`);
  return String(value);
}

export interface IoMax {
  /** "8:0"; absent: the devices below the container's files. */
  readonly device?: string;
  /** "rbps=1048576 wbps=max" */
  readonly settings: string;
}

export function planIoMax(container: Annotated, sandbox: Pick<PodSandboxConfig, 'annotations'>): readonly IoMax[] {
  const found = find('io.max', container, sandbox);
  if (found === undefined) return [];
  const { key, value } = found;
  const entries = value.split(/[;\n]/).filter((entry) => entry.trim() !== '');
  if (entries.length === 0) throw invalidArgument(`annotation ${key} is empty`);
  return entries.map((entry) => {
    const words = entry.trim().split(/[\s,]+/);
    const device = /^\d+:\d+$/.test(words[0] ?? '') ? words.shift() : undefined;
    const settings = words.map((word) => {
      const [, name, limit = ''] = /^(rbps|wbps|riops|wiops)=(.+)$/.exec(word) ?? [];
      if (name === undefined) throw invalidArgument(`annotation ${key}: "${word}" is not one of rbps=, wbps=, riops=, wiops=`);
      return `${name}=${amount(key, limit)}`;
    });
    if (settings.length === 0) throw invalidArgument(`annotation ${key}: "${entry.trim()}" limits nothing`);
    return { ...(device === undefined ? {} : { device }), settings: settings.join(' ') };
  });
}

/** The value of io.weight, or undefined. */
export function planIoWeight(container: Annotated, sandbox: Pick<PodSandboxConfig, 'annotations'>): string | undefined {
  const found = find('io.weight', container, sandbox);
  if (found === undefined) return undefined;
  const weight = Number(found.value);
  if (!Number.isInteger(weight) || weight < 1 || weight > 10000)
    throw invalidArgument(`annotation ${found.key}: "${found.value}" is not a weight from 1 to 10000`);
  return `default ${weight}`;
}

function rlimit(key: string, text: string): bigint {
  if (text === 'unlimited' || text === '-1') return RLIM_INFINITY;
  if (!/^\d{1,19}$/.test(text)) throw invalidArgument(`annotation ${key}: "${text}" is neither unlimited nor a number`);
  return BigInt(text);
}

export function planRlimits(container: Annotated, sandbox: Pick<PodSandboxConfig, 'annotations'>): readonly Rlimit[] {
  const found = find('rlimits', container, sandbox);
  if (found === undefined) return [];
  const { key, value } = found;
  return value
    .split(/[\s,]+/)
    .filter(Boolean)
    .map((word) => {
      const [, name = '', softText = '', hardText = softText] = /^([a-z]+)=([^:]+)(?::(.+))?$/.exec(word) ?? [];
      const type = `RLIMIT_${name.toUpperCase()}`;
      if (RLIMITS[type] === undefined) throw invalidArgument(`annotation ${key}: "${word}" is not of the form nofile=SOFT:HARD`);
      const [soft, hard] = [rlimit(key, softText), rlimit(key, hardText)];
      if (soft > hard) throw invalidArgument(`annotation ${key}: the soft limit of ${name} is above its hard limit`);
      return { type, soft, hard };
    });
}
