// Owns the kernel settings that routing pods needs. Values that already are as wanted are not written.
import fs from 'node:fs/promises';

export interface Sysctl {
  /** As sysctl(8) names it with slashes: interface names may hold dots. */
  readonly name: string;
  readonly value: string;
}

/** `kernelIpv6`: whether the kernel has it at all; `ipv6`: whether pods get addresses of it. */
export const bridgeSysctls = (bridge: string, { ipv6, kernelIpv6 }: { readonly ipv6: boolean; readonly kernelIpv6: boolean }): Sysctl[] => [
  // A connection from 127.0.0.1 to a hostPort leaves by the bridge with that source until it is masqueraded there.
  { name: `net/ipv4/conf/${bridge}/route_localnet`, value: '1' },
  ...(ipv6 ? [{ name: `net/ipv6/conf/${bridge}/disable_ipv6`, value: '0' }] : []),
  // A pod must not become the host's router: on a host that does not forward IPv6, both are on by default (CVE-2020-13401).
  ...(kernelIpv6
    ? [
        { name: `net/ipv6/conf/${bridge}/accept_ra`, value: '0' },
        { name: `net/ipv6/conf/${bridge}/accept_redirects`, value: '0' },
      ]
    : []),
];

/** `advertised`: links with an IPv6 default route from router advertisements, which a forwarding host would stop listening to. */
export const hostSysctls = (ipv6: boolean, advertised: readonly string[]): Sysctl[] => [
  { name: 'net/ipv4/ip_forward', value: '1' },
  ...(ipv6
    ? [
        ...advertised.map((link) => ({ name: `net/ipv6/conf/${link}/accept_ra`, value: '2' })),
        { name: 'net/ipv6/conf/all/forwarding', value: '1' },
      ]
    : []),
];

/** Sets them in order; gives those that were changed. */
export async function applySysctls(sysctls: readonly Sysctl[]): Promise<Sysctl[]> {
  const changed: Sysctl[] = [];
  for (const sysctl of sysctls) {
    const file = `/proc/sys/${sysctl.name}`;
    try {
      if ((await fs.readFile(file, 'utf8')).trim() === sysctl.value) continue;
      await fs.writeFile(file, sysctl.value);
    } catch (error) {
      throw new Error(`set ${sysctl.name.replaceAll('/', '.')} to ${sysctl.value}`, { cause: error });
    }
    changed.push(sysctl);
  }
  return changed;
}

/** "net.ipv4.ip_forward=1" */
export function renderSysctl({ name, value }: Sysctl): string {
  return `${name.replaceAll('/', '.')}=${value}`;
}
