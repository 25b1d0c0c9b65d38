// Forms of names that Kubernetes prescribes. Each check returns what is wrong with the text, or undefined.

import { isIP } from 'node:net';

type Check = (text: string) => string | undefined;

const show = (text: string) => JSON.stringify(text.length > 70 ? `${text.slice(0, 70)}…` : text);

function label(text: string, limit: number): string | undefined {
  if (text.length > limit) return `${show(text)} has ${text.length} characters, at most ${limit} are allowed`;
  if (/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(text)) return undefined;
  return `${show(text)} may hold only lower case letters, digits and "-", and starts and ends with a letter or digit`;
}

/** RFC 1123 label: container, volume, namespace. */
export const checkLabelName: Check = (text) => label(text, 63);

/** RFC 1123 subdomain: a pod's name. */
export const checkSubdomain: Check = (text) => {
  if (text.length > 253) return `${show(text)} has ${text.length} characters, at most 253 are allowed`;
  if (/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(text)) return undefined;
  return `${show(text)} may hold only lower case letters, digits, "-" and ".", and starts and ends with a letter or digit`;
};

/** RFC 6335 service name: a port. */
export const checkPortName: Check = (text) => {
  const wrong = label(text, 15);
  if (wrong) return wrong;
  if (!/[a-z]/.test(text)) return `${show(text)} needs at least one letter`;
  return text.includes('--') ? `${show(text)} may not hold "--"` : undefined;
};

/** "app" or "example.com/app": keys of labels and annotations, names of resources. */
export const checkQualifiedName: Check = (text) => {
  const [prefix, name, ...rest] = text.includes('/') ? text.split('/') : [undefined, text];
  if (rest.length > 0) return `${show(text)} may hold one "/"`;
  if (prefix !== undefined && checkSubdomain(prefix)) return `${show(text)}: the part before "/" is a DNS name such as example.com`;
  return checkQualifiedPart(name ?? '', text);
};

function checkQualifiedPart(name: string, text: string): string | undefined {
  if (name === '') return `${show(text)} has an empty name`;
  if (name.length > 63) return `${show(text)}: the name has ${name.length} characters, at most 63 are allowed`;
  if (/^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/.test(name)) return undefined;
  return `${show(text)} may hold only letters, digits, "-", "_" and ".", and starts and ends with a letter or digit`;
}

export const checkLabelValue: Check = (text) => (text === '' ? undefined : checkQualifiedPart(text, text));

/** Any printable ASCII but "=" (KEP-4369). */
export const checkEnvName: Check = (text) => {
  if (text === '') return 'a variable needs a name';
  return /^[ -<>-~]+$/.test(text) ? undefined : `${show(text)} may hold any printable ASCII character but "="`;
};

/** It becomes part of directory, cgroup and log file names. */
export const checkUid: Check = (text) => {
  if (/^[A-Za-z0-9][-A-Za-z0-9]{0,62}$/.test(text)) return undefined;
  return `${show(text)} may hold only letters, digits and "-", at most 63`;
};

export const checkAbsolutePath: Check = (text) => {
  if (!text.startsWith('/')) return `${show(text)} is not an absolute path; start it with "/"`;
  return text.split('/').includes('..') ? `${show(text)} may not hold ".."` : undefined;
};

export const checkAddress: Check = (text) => (isIP(text) === 0 ? `${show(text)} is not an IP address` : undefined);

/** "A, B or C", with a suggestion where the value is nearly one of them. */
export function checkOneOf(value: string, allowed: readonly string[]): string | undefined {
  if (allowed.includes(value)) return undefined;
  const meant = allowed.find((candidate) => candidate.toLowerCase() === value.toLowerCase());
  const list = allowed.length > 1 ? `${allowed.slice(0, -1).join(', ')} or ${allowed.at(-1)}` : (allowed[0] ?? '');
  return `${show(value)} is not ${list}${meant ? `; did you mean ${meant}?` : ''}`;
}
