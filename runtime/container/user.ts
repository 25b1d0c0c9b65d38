// Owns who a container runs as: the request's user, else the image's, looked up in the image's own passwd and group files.
import { type LinuxContainerSecurityContext, SupplementalGroupsPolicy } from '../../cri-proto/gen/api.ts';
import { invalidArgument } from '../errors.ts';
import { readRootfsFile } from '../image/rootfs-file.ts';
import { resolveUser } from '../image/users.ts';
import type { Identity } from '../program/spec.ts';

const MAX_ACCOUNT_FILE_BYTES = 4 << 20;

/** run_as_user wins over run_as_username, both over the image's USER; run_as_group replaces the primary group. */
export function planUserSpec(security: LinuxContainerSecurityContext | undefined, imageUser: string): string {
  const user = security?.runAsUser?.value;
  const name = security?.runAsUsername ?? '';
  const group = security?.runAsGroup?.value;
  if (group !== undefined && user === undefined && name === '')
    throw invalidArgument('run_as_group is set without run_as_user or run_as_username');
  const who = user === undefined ? name : String(user);
  if (who === '') return imageUser;
  return group === undefined ? who : `${who}:${group}`;
}

/** `dirs`: the rootfs' layers, topmost first. */
export async function findIdentity(
  security: LinuxContainerSecurityContext | undefined,
  imageUser: string,
  dirs: readonly string[],
): Promise<Identity> {
  const [passwd, group] = await Promise.all(
    ['/etc/passwd', '/etc/group'].map((file) => readRootfsFile(dirs, file, { limitBytes: MAX_ACCOUNT_FILE_BYTES })),
  );
  const text = (content: Buffer | undefined) => content?.toString('utf8') ?? '';
  const user = resolve(planUserSpec(security, imageUser), text(passwd), text(group));
  const fromImage = security?.supplementalGroupsPolicy === SupplementalGroupsPolicy.Strict ? [] : user.additionalGids;
  const asked = (security?.supplementalGroups ?? []).map(Number);
  return { uid: user.uid, gid: user.gid, additionalGids: [...new Set([user.gid, ...fromImage, ...asked])] };
}

function resolve(spec: string, passwd: string, group: string): ReturnType<typeof resolveUser> {
  try {
    return resolveUser(spec, passwd, group);
  } catch (error) {
    throw invalidArgument('run as the user of the request or of the image', error);
  }
}
