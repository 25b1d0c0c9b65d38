// Owns whom a registry's certificate must be from, and the connections that were made on that trust: one pool per configuration, so that
// no request goes over a connection that was checked by other rules.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import https from 'node:https';
import tls from 'node:tls';
import type { HostTls } from './registry-hosts.ts';

export interface Trust {
  readonly agent: https.Agent;
  /** For tls.connect. */
  readonly options: tls.ConnectionOptions;
}

const POOL_LIMIT = 32;
/** Where distributions keep the CAs that this host trusts; SSL_CERT_FILE comes first, as for programs that use OpenSSL or Go. */
const SYSTEM_FILES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

const pools = new Map<string, Trust>();

/** The host's own trust, and what hosts.toml adds to it. Without any on the host, what Node brings. */
export async function trustFor(configured: HostTls | undefined): Promise<Trust> {
  const { skipVerify = false, ca = [], certs, keys } = configured ?? {};
  const system = skipVerify ? undefined : await readSystemRoots();
  const key = createHash('sha256')
    .update(JSON.stringify([skipVerify, ca, certs, keys, system?.identity]))
    .digest('hex');
  const known = pools.get(key);
  if (known !== undefined) {
    // The most recently used one is last.
    pools.delete(key);
    pools.set(key, known);
    return known;
  }
  const roots = system?.pem ?? (ca.length > 0 ? tls.rootCertificates.join('\n') : undefined);
  const options: tls.ConnectionOptions = {
    rejectUnauthorized: !skipVerify,
    secureContext: tls.createSecureContext({
      ...(!skipVerify && roots !== undefined && { ca: [roots, ...ca] }),
      ...(certs !== undefined && { cert: certs }),
      ...(keys !== undefined && { key: keys }),
    }),
  };
  const trust: Trust = { options, agent: new https.Agent({ keepAlive: true, ...options }) };
  pools.set(key, trust);
  const oldest = [...pools.keys()].slice(0, Math.max(0, pools.size - POOL_LIMIT));
  for (const each of oldest) pools.delete(each);
  return trust;
}

let systemRoots: { readonly identity: string; readonly pem: string } | undefined;

async function readSystemRoots(): Promise<typeof systemRoots> {
  for (const file of [process.env.SSL_CERT_FILE ?? '', ...SYSTEM_FILES].filter((name) => name !== '')) {
    const stat = await fs.promises.stat(file).catch(() => undefined);
    if (stat === undefined || stat.size === 0) continue;
    const identity = `${file} ${stat.ino} ${stat.size} ${stat.mtimeMs}`;
    if (systemRoots?.identity !== identity) systemRoots = { identity, pem: await fs.promises.readFile(file, 'utf8') };
    return systemRoots;
  }
  return undefined;
}
