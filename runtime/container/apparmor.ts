// Owns the AppArmor profile of a container: which one, and that it is loaded. As with containerd a container that says nothing gets the
// default profile where the host has AppArmor, and one that asks for a profile where it has none is refused.
import fs from 'node:fs';
import type { LinuxContainerSecurityContext } from '../../cri-proto/gen/api.ts';
import { failedPrecondition, invalidArgument } from '../errors.ts';
import { runCommand } from '../linux/command.ts';
import { DEFAULT_APPARMOR_PROFILE, renderAppArmorProfile } from '../program/apparmor-profile.ts';
import { planProfileChoice } from './security-profile.ts';

const ENABLED = '/sys/module/apparmor/parameters/enabled';
const LOADED = '/sys/kernel/security/apparmor/profiles';
const PARSER = ['/sbin/apparmor_parser', '/usr/sbin/apparmor_parser'];

export interface AppArmorHost {
  readonly enabled: boolean;
  /** apparmor_parser(8), which compiles profiles. */
  readonly parser: string | undefined;
}

let host: AppArmorHost | undefined;

export function appArmorHost(): AppArmorHost {
  host ??= {
    enabled: fs.existsSync(ENABLED) && fs.readFileSync(ENABLED, 'latin1').startsWith('Y'),
    parser: PARSER.find((file) => fs.existsSync(file)),
  };
  return host;
}

/** The profile's name, or undefined for none. */
export function planAppArmorProfile(
  security: LinuxContainerSecurityContext | undefined,
  { enabled, parser }: AppArmorHost,
): string | undefined {
  const choice = planProfileChoice('apparmor', security?.apparmor, security?.apparmorProfile ?? '');
  if (choice.kind === 'unconfined') return undefined;
  if (!enabled) {
    if (choice.kind === 'unsaid') return undefined;
    throw failedPrecondition('apparmor profile: this host has no AppArmor; use unconfined');
  }
  if (choice.kind === 'localhost') return choice.reference;
  if (security?.privileged || (choice.kind === 'unsaid' && parser === undefined)) return undefined;
  return DEFAULT_APPARMOR_PROFILE;
}

/** "name (enforce)" a line. */
async function isLoaded(name: string): Promise<boolean> {
  try {
    const loaded = await fs.promises.readFile(LOADED, 'utf8');
    return loaded.split('\n').some((line) => line.replace(/ \([a-z]+\)$/, '') === name);
  } catch (error) {
    throw failedPrecondition('list the AppArmor profiles of this host (is securityfs mounted at /sys/kernel/security?)', error);
  }
}

let loading: Promise<void> | undefined;

/** Loads our own profile when it is missing; any other must be there. */
export async function ensureAppArmorProfile(name: string | undefined): Promise<void> {
  if (name === undefined || (await isLoaded(name))) return;
  if (name !== DEFAULT_APPARMOR_PROFILE)
    throw invalidArgument(`apparmor profile "${name}" is not loaded on this host: load it with apparmor_parser`);
  loading ??= load().finally(() => {
    loading = undefined;
  });
  await loading;
}

async function load(): Promise<void> {
  const { parser } = appArmorHost();
  if (parser === undefined)
    throw failedPrecondition('load the default AppArmor profile: apparmor_parser is not installed; install it, or use unconfined');
  const { exitCode, stderr } = await runCommand([parser, '--skip-cache', '--replace'], { stdin: renderAppArmorProfile() });
  if (exitCode !== 0) throw failedPrecondition(`load the default AppArmor profile: ${stderr.toString().trim()}`);
}
