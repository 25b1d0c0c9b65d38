import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ContainerConfig, MountPropagation } from '../../cri-proto/gen/api.ts';
import { protoJson } from './proto-json.ts';

test('protoJson prints a container config as containerd does', () => {
  const config = ContainerConfig.create({
    metadata: { name: 'main', attempt: 0 },
    image: { image: 'busybox', userSpecifiedImage: 'busybox:1' },
    envs: [{ key: 'PATH', value: Buffer.from('/bin') }],
    mounts: [{ containerPath: '/data', hostPath: '/srv', readonly: true, propagation: MountPropagation.PROPAGATION_BIDIRECTIONAL }],
    labels: { 'io.kubernetes.pod.name': 'a', camelCase: 'b' },
    logPath: 'main/0.log',
    linux: { resources: { memoryLimitInBytes: 64n, unified: { 'memory.low': '1' } }, securityContext: { runAsUser: { value: 0n } } },
  });
  assert.deepEqual(protoJson(config), {
    metadata: { name: 'main' },
    image: { image: 'busybox', user_specified_image: 'busybox:1' },
    envs: [{ key: 'PATH', value: '/bin' }],
    mounts: [{ container_path: '/data', host_path: '/srv', readonly: true, propagation: 2 }],
    labels: { 'io.kubernetes.pod.name': 'a', camelCase: 'b' },
    log_path: 'main/0.log',
    linux: { resources: { memory_limit_in_bytes: 64, unified: { 'memory.low': '1' } }, security_context: { run_as_user: {} } },
  });
});
