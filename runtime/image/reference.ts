// Owns image references: docker's grammar (github.com/distribution/reference) and its short names.
import { isDigest } from './digest.ts';

const NAME_LIMIT_CHARS = 255;
const domainComponent = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const domainPattern = new RegExp(`^(?:${domainComponent}(?:\\.${domainComponent})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$`);
const componentPattern = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$/;
const tagPattern = /^\w[\w.-]{0,127}$/;

/** A whole reference: domain and path always, and a tag, a digest or both. */
export interface Reference {
  /** "docker.io", "localhost", "127.0.0.1:5000", "[::1]:5000" */
  readonly domain: string;
  /** "library/busybox" */
  readonly path: string;
  readonly tag?: string;
  readonly digest?: string;
}

function refuse(text: string, reason: string): Error {
  return new Error(`invalid image reference ${JSON.stringify(text)}: ${reason}`);
}

/** docker.io stands for a missing domain; a first component is a domain when it looks like one (a dot, a port, upper case, localhost). */
function splitDomain(name: string): [domain: string, path: string] {
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  const looksLikeDomain = /[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase();
  const [domain, path] = slash > 0 && looksLikeDomain ? [first, name.slice(slash + 1)] : ['docker.io', name];
  if (domain !== 'docker.io' && domain !== 'index.docker.io') return [domain, path];
  return ['docker.io', path.includes('/') ? path : `library/${path}`];
}

function checkPath(text: string, path: string): void {
  for (const component of path.split('/')) {
    if (component === '') throw refuse(text, 'a component of its name is empty');
    if (component !== component.toLowerCase()) throw refuse(text, `its name must be lower case (${component.toLowerCase()})`);
    if (!componentPattern.test(component)) {
      throw refuse(text, `${JSON.stringify(component)} may have only letters a-z and digits, separated by one of ". _ __ -"`);
    }
  }
}

/** Parses and completes a reference: "busybox" is docker.io/library/busybox:latest. Throws one sentence. */
export function parseReference(text: string): Reference {
  if (text === '') throw refuse(text, 'it is empty');
  if (text.length > 1024) throw refuse(`${text.slice(0, 64)}…`, 'it is longer than 1024 characters');
  if (/\s/.test(text)) throw refuse(text, 'it contains white space');
  if (text.includes('://')) throw refuse(text, `it is a URL; write ${text.slice(text.indexOf('://') + 3) || 'a name'}`);
  if (/^[0-9a-f]{64}$/.test(text)) throw refuse(text, 'it is an image id, not a name');

  const at = text.indexOf('@');
  const digest = at < 0 ? undefined : text.slice(at + 1);
  if (digest !== undefined && !isDigest(digest)) throw refuse(text, `${JSON.stringify(digest)} is not a digest (sha256:<64 hex digits>)`);

  let name = at < 0 ? text : text.slice(0, at);
  let tag: string | undefined;
  const colon = name.lastIndexOf(':');
  if (colon > name.lastIndexOf('/') && !name.endsWith(']')) {
    tag = name.slice(colon + 1);
    name = name.slice(0, colon);
    if (!tagPattern.test(tag))
      throw refuse(text, `${JSON.stringify(tag)} is not a tag (1-128 of A-Z a-z 0-9 _ . -, not starting with . or -)`);
  }
  if (name === '') throw refuse(text, 'it has no name');

  const [domain, path] = splitDomain(name);
  if (!domainPattern.test(domain)) throw refuse(text, `${JSON.stringify(domain)} is not a registry host`);
  checkPath(text, path);
  if (domain.length + 1 + path.length > NAME_LIMIT_CHARS) throw refuse(text, `its name is longer than ${NAME_LIMIT_CHARS} characters`);
  if (tag === undefined && digest === undefined) tag = 'latest';
  return { domain, path, ...(tag !== undefined && { tag }), ...(digest !== undefined && { digest }) };
}

/** "docker.io/library/busybox" */
export function repositoryOf({ domain, path }: Reference): string {
  return `${domain}/${path}`;
}

/** The reference's one spelling. With both a tag and a digest the digest decides and the tag is dropped, as in docker and containerd. */
export function formatReference(reference: Reference): string {
  const repository = repositoryOf(reference);
  return reference.digest === undefined ? `${repository}:${reference.tag}` : `${repository}@${reference.digest}`;
}
