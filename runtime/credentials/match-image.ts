// Owns which registries and repositories a pattern of credentials means: the rules of the kubelet's matchImages, which config.json shares.

export interface ImagePattern {
  /** Parts of the host's name; "*" in one stands for any characters of that part. */
  readonly host: readonly string[];
  /** "" where the pattern names none. */
  readonly port: string;
  /** "team/app", "" for all. */
  readonly path: string;
}

const DOCKER_HUB = /^(index\.docker\.io|registry-1\.docker\.io|docker\.io)$/;

/** "*.dkr.ecr.*.amazonaws.com", "registry:5000/team", "https://index.docker.io/v1/": the last is how docker spells docker.io. */
export function parsePattern(text: string): ImagePattern {
  const [authority = '', ...rest] = text
    .trim()
    .replace(/^[a-z]+:\/\//i, '')
    .split('/');
  const [, host = authority, port = ''] = /^(.*?)(?::(\d+))?$/.exec(authority.toLowerCase()) ?? [];
  const path = rest.filter((part) => part !== '').join('/');
  return { host: (DOCKER_HUB.test(host) ? 'docker.io' : host).split('.'), port, path: /^v[12]$/.test(path) ? '' : path };
}

/** Part by part; a path of the pattern is the beginning of the repository's. `repository`: "registry:5000/team/app", or a host alone. */
export function matchesImage(pattern: ImagePattern, repository: string): boolean {
  const image = parsePattern(repository);
  return (
    pattern.port === image.port &&
    pattern.host.length === image.host.length &&
    pattern.host.every((part, i) => matchesPart(part, image.host[i] ?? '')) &&
    (pattern.path === '' || image.path === pattern.path || image.path.startsWith(`${pattern.path}/`))
  );
}

const literal = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');

function matchesPart(part: string, name: string): boolean {
  if (!part.includes('*')) return part === name;
  return new RegExp(`^${part.split('*').map(literal).join('.*')}$`).test(name);
}

/** "registry:5000/team/app" of an image as people write it: "busybox:1" is docker.io/library/busybox. */
export function repositoryOfImage(image: string): string {
  const [name = ''] = image.split('@');
  const untagged = name.replace(/:[^:/]*$/, '');
  const slash = untagged.indexOf('/');
  const first = slash < 0 ? '' : untagged.slice(0, slash);
  if (/[.:]/.test(first) || first === 'localhost') return untagged;
  return `docker.io/${slash < 0 ? 'library/' : ''}${untagged}`;
}

/** Those of `keys` that mean the repository, the most telling first: longer paths, then hosts without "*", then longer ones. */
export function matchingKeys(keys: readonly string[], repository: string): readonly string[] {
  const weight = (key: string) => {
    const { host, path } = parsePattern(key);
    const name = host.join('.');
    return [path.length, name.includes('*') ? 0 : 1, name.length] as const;
  };
  return keys
    .filter((key) => matchesImage(parsePattern(key), repository))
    .sort((a, b) => {
      const [first, second] = [weight(a), weight(b)];
      return second[0] - first[0] || second[1] - first[1] || second[2] - first[2];
    });
}
