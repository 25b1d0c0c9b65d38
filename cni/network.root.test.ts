import assert from 'node:assert/strict';
import type { AttachRequest, Network, NetworkOptions, PortMapping } from './client.ts';
import { openNetwork } from './client.ts';
import { hostTest, type Peer, requestFromHost, run, startPeer, temporaryDirectory } from './testing/host.ts';

const notices: string[] = [];

async function open(options: Partial<NetworkOptions> = {}): Promise<Network> {
  return openNetwork({
    stateDir: temporaryDirectory(),
    suffix: '',
    podCidrs: ['10.244.0.0/24', 'fd00:244::/64'],
    onNotice: (sentence) => notices.push(sentence),
    ...options,
  });
}

function requestFor(peer: Peer, portMappings: readonly PortMapping[] = []): AttachRequest {
  const { name, netnsFd, netnsPath } = peer;
  return { sandboxId: name, netnsFd, netnsPath, portMappings, namespace: 'default', name };
}

hostTest('pods reach each other and the host, and the host reaches them, over both families', import.meta.url, async () => {
  const network = await open();
  assert.deepEqual(network.status(), { ready: true, reason: '', message: '' });
  const a = await startPeer('a');
  const b = await startPeer('b');
  const start = performance.now();
  const first = await network.attach(requestFor(a));
  console.log('attach', performance.now() - start);
  assert.deepEqual(first.ips, ['10.244.0.2', 'fd00:244::2']);
  assert.equal(first.mac, '0a:58:0a:f4:00:02');
  const second = await network.attach(requestFor(b));
  assert.equal(await a.request('tcp', second.ips[0]!, 80), 'b 10.244.0.2');
  assert.equal(await b.request('udp', first.ips[1]!, 80), 'a fd00:244::3');
  assert.equal(await requestFromHost('tcp', first.ips[0]!, 80), 'a 10.244.0.1');
  assert.equal(await requestFromHost('tcp', first.ips[1]!, 80), 'a fd00:244::1');
  run('true');
  await network.detach('a');
  await network.detach('b');
  await network.close({ remove: true });
});
