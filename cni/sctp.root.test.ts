// HostPorts of SCTP: the built-in network's and the plugin's, which stand side by side on one host.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { formatIp, parseIp } from './ip.ts';
import { cleanup, hostTest, lacking, missing, type Namespace, openNamespace, poll, temporaryDirectory } from './testing/host.ts';
import { attach, connectOutside, open } from './testing/network.ts';
import { ipam, type Json, succeed } from './testing/plugin.ts';

/** Answers on port 80 of both families with its name and the client's address. */
function serve({ name, netnsPath }: Namespace): void {
  const listen = ['socat', 'SCTP6-LISTEN:80,fork,reuseaddr,ipv6-v6only=0', `SYSTEM:echo ${name} $SOCAT_PEERADDR`];
  const server = spawn('nsenter', [`--net=${netnsPath}`, ...listen], { stdio: 'inherit' });
  cleanup(() => server.kill());
}

/** One association to each, all of them at once. socat names peers in brackets, those of IPv4 as mapped into IPv6. */
function ask(from: Namespace, ...addresses: string[]): string[] {
  const each = addresses.map((address) => `echo "$(socat -T 5 -u ${address},connect-timeout=10 - 2>&1)" &`);
  const answers = from
    .run(`${each.join(' ')} wait`)
    .trim()
    .split('\n')
    .sort();
  return answers.map((answer) =>
    answer.replace(/\[([\da-f:]*)\]$/, (_, peer: string) => {
      const { value } = parseIp(peer);
      return formatIp(value >> 32n === 0xffffn ? { family: 4, value: value & 0xffffffffn } : { family: 6, value });
    }),
  );
}

const skip = missing('nft', 'socat') || lacking('SCTP', 'test -d /proc/sys/net/sctp');

hostTest(
  'a hostPort of SCTP leads from outside to the pod over both families, by the network and by the plugins',
  import.meta.url,
  async () => {
    const [web, old, outside] = ['web', 'old', 'outside'].map(openNamespace) as [Namespace, Namespace, Namespace];
    connectOutside(outside);
    const { network } = await open();
    await attach(network, web, [{ protocol: 'sctp', hostPort: 8080, containerPort: 80 }]);
    const config: Json = { bridge: 'br9', isDefaultGateway: true, ...ipam(temporaryDirectory()) };
    const prevResult = await succeed('ADD', 'bridge', config, old);
    const ports = { runtimeConfig: { portMappings: [{ hostPort: 8081, containerPort: 80, protocol: 'sctp' }] }, prevResult };
    await succeed('ADD', 'portmap', ports, old);
    for (const pod of [web, old]) serve(pod);
    const ports4 = [8080, 8081].map((port) => `SCTP4:192.0.2.1:${port}`);
    const ports6 = [8080, 8081].map((port) => `SCTP6:[2001:db8::1]:${port}`);
    const answers = async () => {
      const all = ask(outside, ...ports4, ...ports6);
      // Until they listen.
      return !all.some((answer) => /refused/.test(answer)) && all;
    };
    assert.deepEqual((await poll('answers', answers, 60_000)).sort(), [
      ...['old 192.0.2.2', 'old 2001:db8::2'],
      ...['web 192.0.2.2', 'web 2001:db8::2'],
    ]);
    await network.detach('web');
    await succeed('DEL', 'portmap', ports, old);
    for (const answer of ask(outside, ...ports4)) assert.match(answer, /Connection refused/);
  },
  skip,
);
