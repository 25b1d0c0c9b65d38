// Owns the plugin host-local: leases of addresses on disk, laid out as everyone's host-local does, so that it may take over from another
// one, and another from it:
//
//   <dataDir>/<network>/<address>              "<container id>\r\n<interface>"
//   <dataDir>/<network>/last_reserved_ip.<n>   the last address given of range set n
//   <dataDir>/<network>/lock                   flock(2)
import fs from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { hasCode } from '../../runtime/linux/errno.ts';
import { withFileLock } from '../../runtime/linux/file-lock.ts';
import { formatIp, type IpAddress, parseIp } from '../ip.ts';
import { type Fields, ipField, listField, objectOf, parsed, textField } from '../spec/config.ts';
import { CniError, checkFailure, IO_FAILURE, NOT_AVAILABLE } from '../spec/error.ts';
import type { NetworkCall, PluginCall, PluginType } from '../spec/plugin.ts';
import { type Dns, parseRoutes, type Result } from '../spec/result.ts';
import { type Choice, chooseAddress, parseRangeSets, planRequested } from './range.ts';

const DATA_DIR = '/var/lib/cni/networks';
const LINE_BREAK = '\r\n';

interface Lease {
  readonly address: string;
  readonly containerId: string;
  readonly ifName: string;
}

const ipamOf = ({ config }: NetworkCall): Fields => objectOf(config.fields.ipam, 'ipam');

function directoryOf(call: NetworkCall): string {
  return path.join(textField(ipamOf(call), 'dataDir', DATA_DIR), call.config.name);
}

async function readLeases(directory: string): Promise<Lease[]> {
  const names = (await fs.readdir(directory)).filter((name) => net.isIP(name) !== 0);
  return Promise.all(
    names.map(async (address) => {
      const [containerId = '', ifName = ''] = (await fs.readFile(path.join(directory, address), 'utf8')).trim().split(/\r?\n/);
      return { address, containerId, ifName };
    }),
  );
}

/** A lease of old had no interface, and stands for every one of its container. */
function isOf({ containerId, ifName }: Pick<PluginCall, 'containerId' | 'ifName'>) {
  return (lease: Lease): boolean => lease.containerId === containerId && (lease.ifName === '' || lease.ifName === ifName);
}

async function previousOf(directory: string, index: number): Promise<IpAddress | undefined> {
  try {
    return parseIp((await fs.readFile(path.join(directory, `last_reserved_ip.${index}`), 'utf8')).trim());
  } catch {
    // Missing or cut short: any beginning is good.
    return undefined;
  }
}

/** Addresses that are asked for by CNI_ARGS, the configuration's args, or the runtime's capability; with a prefix length or without. */
function requestedOf({ config, args }: PluginCall): IpAddress[] {
  const cni = objectOf(objectOf(config.fields.args, 'args').cni, 'args.cni');
  const asked = [...(args.get('IP')?.split(',') ?? []), ...listField(cni, 'ips'), ...listField(config.runtimeConfig, 'ips')].map(
    (one) => String(one).split('/')[0] ?? '',
  );
  return [...new Set(asked.filter((one) => one !== ''))].map((one) => ipField(one, 'requested address'));
}

async function resolvConfOf(ipam: Fields): Promise<Dns> {
  const file = textField(ipam, 'resolvConf');
  if (file === undefined) return {};
  const dns = { nameservers: [] as string[], search: [] as string[], options: [] as string[], domain: '' };
  const text = await fs.readFile(file, 'utf8').catch((cause: unknown) => {
    throw new CniError(IO_FAILURE, `read resolvConf ${file}`, { cause });
  });
  for (const line of text.split('\n')) {
    const [keyword = '', ...values] = line.trim().split(/\s+/);
    if (keyword === 'nameserver') dns.nameservers.push(...values.slice(0, 1));
    if (keyword === 'search') dns.search.push(...values);
    if (keyword === 'options') dns.options.push(...values);
    if (keyword === 'domain') dns.domain = values[0] ?? '';
  }
  return Object.fromEntries(Object.entries(dns).filter(([, value]) => value.length > 0));
}

function resultOf(choices: readonly Choice[], ipam: Fields, dns: Dns): Result {
  return {
    interfaces: [],
    ips: choices.map(({ address, range }) => ({
      address: `${formatIp(address)}/${range.subnet.prefixLength}`,
      gateway: formatIp(range.gateway),
    })),
    routes: parsed('ipam.routes', () => parseRoutes(ipam.routes)),
    dns,
  };
}

async function release(directory: string, isReleased: (lease: Lease) => boolean): Promise<void> {
  for (const lease of (await readLeases(directory)).filter(isReleased)) await fs.rm(path.join(directory, lease.address), { force: true });
}

/** Runs under the lock of the network's directory; `absent` when there is no such directory, and none is made. */
async function locked(call: NetworkCall, work: (directory: string) => Promise<void>): Promise<void> {
  const directory = directoryOf(call);
  try {
    await fs.access(directory);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return;
    throw error;
  }
  await withFileLock(path.join(directory, 'lock'), () => work(directory));
}

export const hostLocal: PluginType = {
  async add(call) {
    const ipam = ipamOf(call);
    const sets = parseRangeSets(ipam, listField(call.config.runtimeConfig, 'ipRanges'));
    const requested = planRequested(sets, requestedOf(call));
    const dns = await resolvConfOf(ipam);
    const directory = directoryOf(call);
    await fs.mkdir(directory, { recursive: true, mode: 0o755 });
    return withFileLock(path.join(directory, 'lock'), async () => {
      const leases = await readLeases(directory);
      const held = new Set(leases.map(({ address }) => address));
      const mine = leases.find(isOf(call));
      if (mine !== undefined)
        throw new CniError(4, `container ${call.containerId} has ${mine.address} for ${call.ifName} already: delete it first`);
      const choices: Choice[] = [];
      try {
        for (const [index, set] of sets.entries()) {
          const asked = requested.get(index);
          if (asked !== undefined && held.has(formatIp(asked.address)))
            throw new CniError(
              11,
              `requested address ${formatIp(asked.address)} is in use by ${holderOf(leases, formatIp(asked.address))}`,
            );
          const choice = asked ?? chooseAddress(set, (address) => held.has(address), await previousOf(directory, index));
          const address = formatIp(choice.address);
          await fs.writeFile(path.join(directory, address), `${call.containerId}${LINE_BREAK}${call.ifName}`, { flag: 'wx', mode: 0o600 });
          held.add(address);
          choices.push(choice);
          await fs.writeFile(path.join(directory, `last_reserved_ip.${index}`), address, { mode: 0o600 });
        }
      } catch (error) {
        await release(directory, isOf(call));
        throw error;
      }
      return resultOf(choices, ipam, dns);
    });
  },

  del: (call) => locked(call, (directory) => release(directory, isOf(call))),

  async check(call) {
    let found = false;
    await locked(call, async (directory) => {
      found = (await readLeases(directory)).some(isOf(call));
    });
    if (!found) throw checkFailure(`container ${call.containerId} has no address for ${call.ifName} in network ${call.config.name}`);
  },

  async status(call) {
    const sets = parseRangeSets(ipamOf(call), listField(call.config.runtimeConfig, 'ipRanges'));
    const held = new Set<string>();
    await locked(call, async (directory) => {
      for (const { address } of await readLeases(directory)) held.add(address);
    });
    for (const set of sets)
      try {
        chooseAddress(set, (address) => held.has(address), undefined);
      } catch (cause) {
        throw new CniError(NOT_AVAILABLE, `network ${call.config.name}`, { cause });
      }
  },

  gc: (call, valid) =>
    locked(call, (directory) =>
      release(directory, (lease) => !valid.some(({ containerID, ifname }) => isOf({ containerId: containerID, ifName: ifname })(lease))),
    ),
};

function holderOf(leases: readonly Lease[], address: string): string {
  return leases.find((lease) => lease.address === address)?.containerId ?? 'another container of this network';
}
