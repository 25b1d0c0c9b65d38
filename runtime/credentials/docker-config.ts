// Owns this machine's credentials for registries: docker's config.json where docker and the kubelet keep it, and the credential helpers
// that it names. Read again at each use: `docker login` needs no restart of anything.
import fs from 'node:fs';
import path from 'node:path';
import { runCommand } from '../linux/command.ts';
import { hasCode } from '../linux/errno.ts';
import { matchingKeys, parsePattern } from './match-image.ts';

/** CRI's AuthConfig, without the fields that a source does not know. */
export interface Credentials {
  readonly username?: string;
  readonly password?: string;
  /** base64 of "user:password" */
  readonly auth?: string;
  readonly identityToken?: string;
  readonly registryToken?: string;
  /** Whom they are for, a host or a URL; "" leaves it open. */
  readonly serverAddress?: string;
}

export interface DockerConfig {
  readonly auths: ReadonlyMap<string, Credentials>;
  readonly credHelpers: ReadonlyMap<string, string>;
  readonly credsStore: string | undefined;
}

export type FindCredentials = (repository: string) => Promise<Credentials | undefined>;

const HELPER_TIMEOUT_MS = 30_000;
const HELPER_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/** Where config.json may be, in the order in which it is looked for. */
export function planConfigFiles(env: Readonly<Record<string, string | undefined>>, rootDir: string): readonly string[] {
  const { DOCKER_CONFIG, HOME } = env;
  const directories = [
    DOCKER_CONFIG,
    rootDir,
    '/var/lib/kubelet',
    HOME === undefined || HOME === '' ? undefined : path.join(HOME, '.docker'),
    '/.docker',
  ];
  return [
    ...new Set(
      directories.filter((each): each is string => each !== undefined && each !== '').map((each) => path.join(each, 'config.json')),
    ),
  ];
}

type Fields = Readonly<Record<string, unknown>>;

const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null && !Array.isArray(value);
const entriesOf = (value: unknown): [string, unknown][] => (isFields(value) ? Object.entries(value) : []);

/** Throws a sentence. */
export function parseDockerConfig(text: string, file: string): DockerConfig {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    throw new Error(`${file} is not JSON`);
  }
  if (!isFields(document)) throw new Error(`${file} is not a JSON object`);
  const auths = entriesOf(document.auths).flatMap(([key, value]) => {
    const credentials = parseCredentials(value);
    return credentials === undefined ? [] : [[key, credentials] as const];
  });
  return {
    auths: new Map(auths),
    credHelpers: new Map(entriesOf(document.credHelpers).filter((entry): entry is [string, string] => typeof entry[1] === 'string')),
    credsStore: typeof document.credsStore === 'string' && document.credsStore !== '' ? document.credsStore : undefined,
  };
}

function parseCredentials(value: unknown): Credentials | undefined {
  if (!isFields(value)) return undefined;
  const text = (name: string) => (typeof value[name] === 'string' && value[name] !== '' ? value[name] : undefined);
  const found = {
    username: text('username'),
    password: text('password'),
    auth: text('auth'),
    identityToken: text('identitytoken'),
    registryToken: text('registrytoken'),
  };
  const known = Object.entries(found).filter(([, each]) => each !== undefined);
  return known.length === 0 ? undefined : (Object.fromEntries(known) as Credentials);
}

/** Credentials for "registry:5000/team/app" from the first of these files that has some. */
export function openDockerCredentials(files: readonly string[], run: typeof runCommand = runCommand): FindCredentials {
  return async (repository) => {
    for (const file of files) {
      const text = await fs.promises.readFile(file, 'utf8').catch((error: unknown) => {
        if (hasCode(error, 'ENOENT', 'ENOTDIR', 'EACCES')) return undefined;
        throw error;
      });
      const found = text === undefined ? undefined : await findIn(parseDockerConfig(text, file), repository, run);
      if (found !== undefined) return found;
    }
    return undefined;
  };
}

async function findIn(config: DockerConfig, repository: string, run: typeof runCommand): Promise<Credentials | undefined> {
  const [helped] = matchingKeys([...config.credHelpers.keys()], repository);
  const helper = helped === undefined ? config.credsStore : config.credHelpers.get(helped);
  const fromHelper = helper === undefined ? undefined : await askHelper(helper, serverOf(repository), run);
  if (fromHelper !== undefined) return fromHelper;
  const [key] = matchingKeys([...config.auths.keys()], repository);
  return key === undefined ? undefined : config.auths.get(key);
}

/** What docker login stores credentials under. */
function serverOf(repository: string): string {
  const [authority = ''] = repository.split('/');
  return parsePattern(authority).host.join('.') === 'docker.io' ? 'https://index.docker.io/v1/' : authority;
}

/** docker-credential-<helper> get: the server on its standard input, JSON on its output. Undefined when it has none. */
async function askHelper(helper: string, server: string, run: typeof runCommand): Promise<Credentials | undefined> {
  if (!HELPER_NAME.test(helper)) throw new Error(`the credential helper ${JSON.stringify(helper)} is no name of a program`);
  const program = `docker-credential-${helper}`;
  const subject = `get credentials for ${server} from ${program}`;
  let result: Awaited<ReturnType<typeof runCommand>>;
  try {
    result = await run([program, 'get'], { stdin: server, timeoutMs: HELPER_TIMEOUT_MS });
  } catch (cause) {
    throw new Error(subject, { cause });
  }
  const output = result.stdout.toString('utf8').trim();
  if (result.exitCode !== 0) {
    // The one failure that has a fixed wording in the helpers' protocol.
    if (/credentials not found/i.test(output)) return undefined;
    const [reason = ''] = (output || result.stderr.toString('utf8').trim()).split('\n');
    throw new Error(`${subject}: it ends with ${result.exitCode}${reason === '' ? '' : ` (${reason.slice(0, 200)})`}`);
  }
  let answer: unknown;
  try {
    answer = JSON.parse(output);
  } catch {
    throw new Error(`${subject}: its answer is not JSON`);
  }
  const { Username, Secret } = isFields(answer) ? answer : {};
  if (typeof Username !== 'string' || typeof Secret !== 'string') throw new Error(`${subject}: its answer has no Username and Secret`);
  return Username === '<token>' ? { identityToken: Secret } : { username: Username, password: Secret };
}
