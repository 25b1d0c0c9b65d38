// Owns the proxies that the environment names: HTTP_PROXY, HTTPS_PROXY and NO_PROXY (either case), read as other container tools do.
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';

export type Environment = Readonly<Record<string, string | undefined>>;

/** The proxy for a URL; undefined to go there directly. This host's own addresses are always reached directly. */
export function planProxy(url: URL, env: Environment): URL | undefined {
  const name = url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY';
  const value = env[name] || env[name.toLowerCase()];
  if (value === undefined || value === '' || !usesProxy(url, env.NO_PROXY || env.no_proxy || '')) return undefined;
  const text = value.includes('://') ? value : `http://${value}`;
  if (!URL.canParse(text) || !/^https?:/.test(text)) throw new Error(`${name} is ${JSON.stringify(value)}, which is no http or https URL`);
  return new URL(text);
}

const portOf = ({ port, protocol }: URL): string => port || (protocol === 'https:' ? '443' : '80');
const bareHost = (hostname: string): string => hostname.replace(/^\[|\]$/g, '').toLowerCase();

function usesProxy(url: URL, noProxy: string): boolean {
  const host = bareHost(url.hostname);
  if (host === 'localhost' || host === '::1' || /^127(\.\d+){3}$/.test(host)) return false;
  return !noProxy.split(',').some((entry) => matches(entry.trim().toLowerCase(), host, portOf(url)));
}

/** "*", "10.0.0.0/8", "10.1.2.3", "example.com" (with what is below it), ".example.com" (only that), each but the first two with ":port". */
function matches(entry: string, host: string, port: string): boolean {
  if (entry === '') return false;
  if (entry === '*') return true;
  const family = net.isIP(host) === 6 ? 'ipv6' : 'ipv4';
  const [, network, bits] = /^([0-9a-f.:]+)\/(\d+)$/.exec(entry) ?? [];
  if (network !== undefined) {
    if (net.isIP(host) === 0 || net.isIP(network) !== net.isIP(host) || Number(bits) > (family === 'ipv6' ? 128 : 32)) return false;
    const list = new net.BlockList();
    list.addSubnet(network, Number(bits), family);
    return list.check(host, family);
  }
  const [, name = entry, itsPort] = (net.isIP(entry) === 6 ? undefined : /^(.*?)(?::(\d+))?$/.exec(entry)) ?? [];
  if (itsPort !== undefined && itsPort !== port) return false;
  const wanted = bareHost(name.replace(/^\*\./, '.'));
  return wanted.startsWith('.') ? host.endsWith(wanted) : host === wanted || host.endsWith(`.${wanted}`);
}

/** The Proxy-Authorization header, where the proxy's URL has a user. */
export function proxyHeaders({ username, password }: URL): Record<string, string> {
  if (username === '') return {};
  const credentials = Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString('base64');
  return { 'proxy-authorization': `Basic ${credentials}` };
}

/** A tunnel through the proxy to the host and port of `target` (RFC 9110, 9.3.6). */
export function connectThrough(proxy: URL, target: URL, options: { signal: AbortSignal }): Promise<net.Socket> {
  const authority = `${target.hostname}:${portOf(target)}`;
  return new Promise((resolve, reject) => {
    const request = (proxy.protocol === 'https:' ? https : http).request({
      host: bareHost(proxy.hostname),
      port: portOf(proxy),
      method: 'CONNECT',
      path: authority,
      headers: { host: authority, ...proxyHeaders(proxy) },
      agent: false,
      ...options,
    });
    request.on('connect', (answer, socket) => {
      if (answer.statusCode === 200) return resolve(socket);
      socket.destroy();
      reject(new Error(`the proxy ${proxy.host} answers ${answer.statusCode} to CONNECT`));
    });
    request.on('error', (cause) => reject(new Error(`the proxy ${proxy.host} does not let us through`, { cause })));
    request.end();
  });
}
