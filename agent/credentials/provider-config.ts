// --image-credential-provider-config: a CredentialProviderConfig (kubelet.config.k8s.io/v1), strictly decoded. Whoever writes it means
// pulls to work by it, so a file with a mistake in it is not used at all.
import fs from 'node:fs/promises';
import path from 'node:path';
import { parsePattern } from '../../runtime/credentials/match-image.ts';
import { parseDurationMs } from '../config/duration.ts';
import { decodeObject, type Vocabulary } from '../manifest/decode-object.ts';
import { parseYaml, plainValue } from '../manifest/yaml.ts';

export interface CredentialProvider {
  /** Also the name of its program in the bin directory. */
  readonly name: string;
  readonly matchImages: readonly string[];
  readonly defaultCacheMs: number;
  /** credentialprovider.kubelet.k8s.io/… */
  readonly apiVersion: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

const vocabulary: Vocabulary = {
  objects: {
    CredentialProviderConfig: { fields: { apiVersion: 'string', kind: 'string', providers: '[]CredentialProvider' } },
    CredentialProvider: {
      fields: {
        name: 'string',
        matchImages: '[]string',
        defaultCacheDuration: 'string',
        apiVersion: 'string',
        args: '[]string',
        env: '[]ExecEnvVar',
      },
      later: {
        tokenAttributes: { type: 'any', refused: 'service account tokens come from an API server' },
      },
    },
    ExecEnvVar: { fields: { name: 'string', value: 'string' } },
  },
  laterMessage: 'not yet acted on',
  homes: [],
};

const CONFIG_VERSION = /^kubelet\.config\.k8s\.io\/(v1|v1beta1|v1alpha1)$/;
const EXEC_VERSION = /^credentialprovider\.kubelet\.k8s\.io\/(v1|v1beta1|v1alpha1)$/;

/** Reads the configuration and looks for the programs. Throws one sentence. */
export async function readProviderConfig(file: string, binDir: string): Promise<readonly CredentialProvider[]> {
  try {
    const providers = parseProviderConfig(await fs.readFile(file));
    for (const { name } of providers) await fs.access(path.join(binDir, name), fs.constants.X_OK);
    return providers;
  } catch (cause) {
    throw new Error(`read the credential providers of ${file}`, { cause });
  }
}

export function parseProviderConfig(text: Uint8Array | string): readonly CredentialProvider[] {
  const [document, ...others] = parseYaml(text);
  const [broken] = document?.problems ?? [];
  if (broken !== undefined) throw new Error(broken.message);
  if (document?.root?.kind !== 'mapping' || others.length > 0) throw new Error('it is not one object of kind CredentialProviderConfig');
  const { apiVersion, kind } = plainValue(document.root) as { apiVersion?: unknown; kind?: unknown };
  if (kind !== 'CredentialProviderConfig' || !CONFIG_VERSION.test(String(apiVersion)))
    throw new Error('it does not start with apiVersion: kubelet.config.k8s.io/v1 and kind: CredentialProviderConfig');
  const { value, problems } = decodeObject(vocabulary, 'CredentialProviderConfig', document.root, '');
  const [wrong] = problems;
  if (wrong !== undefined) throw new Error(`${wrong.fieldPath}: ${wrong.message}`);
  const decoded = (value.providers ?? []) as readonly Record<string, unknown>[];
  if (decoded.length === 0) throw new Error('it has no providers');
  const providers = decoded.map((provider, i) => toProvider(provider, `providers[${i}]`));
  const twice = providers.find(({ name }, i) => providers.findIndex((other) => other.name === name) !== i);
  if (twice !== undefined) throw new Error(`the provider "${twice.name}" is there twice`);
  return providers;
}

function toProvider(value: Record<string, unknown>, where: string): CredentialProvider {
  const name = (value.name as string | undefined) ?? '';
  if (!/^[^\s/]+$/.test(name) || name === '.' || name === '..') throw new Error(`${where}.name: "${name}" is no name of a program`);
  const matchImages = (value.matchImages ?? []) as readonly string[];
  if (matchImages.length === 0) throw new Error(`${where}.matchImages: it names no images`);
  const unclear = matchImages.find((pattern) => parsePattern(pattern).host.some((part) => part === ''));
  if (unclear !== undefined) throw new Error(`${where}.matchImages: "${unclear}" names no registry`);
  const duration = value.defaultCacheDuration as string | undefined;
  const defaultCacheMs = duration === undefined ? undefined : parseDurationMs(duration);
  if (defaultCacheMs === undefined || defaultCacheMs < 0)
    throw new Error(`${where}.defaultCacheDuration: expected a duration such as 12h, 0s for none`);
  const apiVersion = (value.apiVersion as string | undefined) ?? '';
  if (!EXEC_VERSION.test(apiVersion)) throw new Error(`${where}.apiVersion: expected credentialprovider.kubelet.k8s.io/v1`);
  const env = ((value.env ?? []) as readonly { name?: string; value?: string }[]).map(({ name: key = '', value: text = '' }) => [
    key,
    text,
  ]);
  return {
    ...{ name, matchImages, defaultCacheMs, apiVersion },
    args: (value.args ?? []) as readonly string[],
    env: Object.fromEntries(env) as Record<string, string>,
  };
}
