import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { withConfig } from './config-file.ts';

const directory = await fs.mkdtemp(path.join(os.tmpdir(), 'config-file-'));
after(() => fs.rm(directory, { recursive: true }));

async function write(fields: string): Promise<string> {
  const file = path.join(directory, 'kubelet.yaml');
  await fs.writeFile(file, `apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n${fields}`);
  return file;
}

test('flags win over the file, the file over the defaults', async () => {
  const config = await write('staticPodPath: /etc/pods\nreadOnlyPort: 0\npodLogsDir: /logs\nfileCheckFrequency: 1m\n');
  const flags = await withConfig({ config, 'log-dir': '/mine' }, assert.fail);
  assert.deepEqual(flags, {
    config,
    manifests: ['/etc/pods'],
    'read-only-port': '0',
    'file-check-frequency': '60000ms',
    'log-dir': '/mine',
  });
});

test('--cri-socket wins over containerRuntimeEndpoint, which is the other name of it', async () => {
  const config = await write('containerRuntimeEndpoint: unix:///run/containerd/containerd.sock\n');
  assert.deepEqual(await withConfig({ config, 'cri-socket': '/x' }, assert.fail), { config, 'cri-socket': '/x' });
  assert.equal((await withConfig({ config }, assert.fail))['container-runtime-endpoint'], 'unix:///run/containerd/containerd.sock');
});

test('what is not acted on is told, what is wrong is refused', async () => {
  const told: string[] = [];
  await withConfig({ config: await write('maxPods: 5\nmaxPodss: 6\n') }, (sentence) => told.push(sentence));
  assert.equal(told.length, 2);
  await assert.rejects(withConfig({ config: await write('readOnlyPort: 70000\n') }, assert.fail), /readOnlyPort: 70000 is not a port/);
  await assert.rejects(withConfig({ config: path.join(directory, 'none') }, assert.fail), /read the configuration/);
});
