// Owns turning an image's USER, or what CRI says in its place, into numbers by the image's /etc/passwd and /etc/group (passwd(5), group(5)).
// The rules are those of docker and containerd. Pure.

const ID_LIMIT = 2 ** 31 - 1;

export interface ResolvedUser {
  readonly uid: number;
  readonly gid: number;
  /** Groups of /etc/group that list the user as a member, without the primary one. */
  readonly additionalGids: readonly number[];
  /** Name in /etc/passwd, where there is an entry. */
  readonly username?: string;
  /** Home directory; "/" for a user without an entry. */
  readonly home: string;
}

interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

interface GroupEntry {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/** Lines split at ":"; comments, NIS lines and lines without a valid id are passed over, as libc does. */
function* entries(text: string | undefined): Generator<string[]> {
  for (const line of (text ?? '').split('\n')) {
    const fields = line.trim().split(':');
    if (/^[^#+-]/.test(line.trim()) && isId(fields[2])) yield fields;
  }
}

function isId(text: string | undefined): text is string {
  return text !== undefined && /^\d+$/.test(text) && Number(text) <= ID_LIMIT;
}

export function parsePasswd(text: string | undefined): PasswdEntry[] {
  return [...entries(text)]
    .filter(([, , , gid]) => isId(gid))
    .map(([name = '', , uid, gid, , home = '']) => ({ name, uid: Number(uid), gid: Number(gid), home: home === '' ? '/' : home }));
}

export function parseGroup(text: string | undefined): GroupEntry[] {
  return [...entries(text)].map(([name = '', , gid, members = '']) => ({
    name,
    gid: Number(gid),
    members: members.split(',').filter((member) => member !== ''),
  }));
}

function checkRange(spec: string, text: string): void {
  if (/^\d+$/.test(text) && !isId(text)) throw new Error(`user ${JSON.stringify(spec)}: ${text} is out of range (0-${ID_LIMIT})`);
}

function findUser(spec: string, user: string, passwd: readonly PasswdEntry[]): PasswdEntry {
  checkRange(spec, user);
  // Without a user the container runs as root, and root's entry says the rest.
  const numeric = user === '' ? '0' : user;
  if (isId(numeric)) {
    const uid = Number(numeric);
    return passwd.find((entry) => entry.uid === uid) ?? { name: '', uid, gid: 0, home: '/' };
  }
  const found = passwd.find(({ name }) => name === user);
  if (found === undefined)
    throw new Error(`user ${JSON.stringify(user)} is not in the image's /etc/passwd; use its number or a name that is there`);
  return found;
}

function findGroup(spec: string, group: string, groups: readonly GroupEntry[]): number {
  checkRange(spec, group);
  if (isId(group)) return Number(group);
  const found = groups.find(({ name }) => name === group);
  if (found === undefined)
    throw new Error(`group ${JSON.stringify(group)} is not in the image's /etc/group; use its number or a name that is there`);
  return found.gid;
}

/**
 * Resolves "", "1000", "www-data", "1000:50", "www-data:grp" with the contents of the image's files (undefined when absent). A number
 * needs no entry; a name does.
 */
export function resolveUser(spec: string, passwd: string | undefined, group: string | undefined): ResolvedUser {
  const [user = '', primary = '', ...rest] = spec.split(':');
  if (rest.length > 0) throw new Error(`user ${JSON.stringify(spec)} is not of the form user:group`);
  const groups = parseGroup(group);
  const entry = findUser(spec, user, parsePasswd(passwd));
  const gid = primary === '' ? entry.gid : findGroup(spec, primary, groups);
  const memberOf = groups.filter(({ members }) => entry.name !== '' && members.includes(entry.name)).map((found) => found.gid);
  return {
    uid: entry.uid,
    gid,
    additionalGids: [...new Set(memberOf)].filter((other) => other !== gid),
    home: entry.home,
    ...(entry.name !== '' && { username: entry.name }),
  };
}
