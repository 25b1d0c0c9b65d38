import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { V1PodSpec } from '@kubernetes/client-node';
import { NamespaceMode, SecurityProfile_ProfileType as ProfileType, Protocol } from '../../cri-proto/gen/api.ts';
import { parseManifest } from '../manifest/manifest.ts';
import type { ConfigNode } from './cri-config.ts';
import type { DnsSources } from './dns.ts';
import * as labels from './labels.ts';
import { planStart } from './plan-start.ts';
import { planContainerSecurity, rootProblem } from './security.ts';
import { makePod } from './testing/model.ts';

const node: ConfigNode = {
  nodeName: 'n1',
  hostIps: ['192.0.2.10'],
  memoryBytes: 8n << 30n,
  mapsTmpfs: true,
  clusterDomain: 'cluster.local',
  paths: { podsDir: '/var/lib/tskubelet/pods', logDir: '/var/log/pods' },
};

const dns: DnsSources = {
  host: { servers: ['192.0.2.53'], searches: ['example.com'], options: ['ndots:2'] },
  clusterServers: ['10.244.0.1'],
  clusterDomain: 'cluster.local',
};

/** Without the bag for unknown fields that each generated message has. */
const plain = (value: unknown) => JSON.parse(JSON.stringify(value, (key, field) => (key === '_unknownFields' ? undefined : field)));

function start(spec: string, metadata = 'name: web') {
  const text = `apiVersion: v1\nkind: Pod\nmetadata: {${metadata}}\nspec:\n${spec.replace(/^/gm, '  ')}\n`;
  const { pods, problems } = parseManifest(text, { file: '/pods/web.yaml', nodeName: 'n1', source: 'file' });
  assert.ok(pods[0], problems.map(({ message }) => message).join('; '));
  const plan = planStart({ desired: pods[0], node, dns, cgroupRoot: '/', podIps: ['10.244.0.9'] });
  const [container] = plan.containerConfigs;
  assert.ok(container);
  return {
    uid: pods[0].pod.metadata?.uid ?? '',
    hash: pods[0].hash,
    sandbox: plan.sandboxConfig,
    container,
    containers: plan.containerConfigs,
  };
}

test('a sandbox carries the names, labels and annotations that kubelets write', () => {
  const { uid, hash, sandbox } = start(
    'containers: [{name: c, image: busybox}]',
    'name: web, namespace: shop, labels: {app: x}, annotations: {a: b}',
  );
  assert.deepEqual(plain(sandbox.metadata), { name: 'web', namespace: 'shop', uid, attempt: 0 });
  assert.equal(sandbox.hostname, 'web');
  assert.equal(sandbox.logDirectory, `/var/log/pods/shop_web_${uid}`);
  assert.deepEqual(sandbox.labels, { app: 'x', [labels.POD_NAME]: 'web', [labels.POD_NAMESPACE]: 'shop', [labels.POD_UID]: uid });
  assert.equal(sandbox.annotations[labels.CONFIG_HASH], hash);
  assert.equal(sandbox.annotations[labels.CONFIG_SOURCE], 'file');
  assert.equal(sandbox.annotations[labels.AGENT_NODE], 'n1');
  assert.equal(sandbox.annotations.a, 'b');
  assert.equal(sandbox.linux?.cgroupParent, `/kubepods/besteffort/pod${uid}`);
  assert.deepEqual(plain(sandbox.dnsConfig), {
    servers: ['10.244.0.1'],
    searches: ['shop.svc.cluster.local', 'svc.cluster.local', 'cluster.local', 'example.com'],
    options: ['ndots:5'],
  });
});

test('a container carries its command, environment, log path and annotations', () => {
  const { container, uid } = start(`containers:
- name: c
  image: busybox
  command: [echo, $(GREETING)]
  args: [$$(GREETING), $(POD_IP), $(NONE)]
  workingDir: /tmp
  env:
  - {name: WHO, value: world}
  - {name: GREETING, value: hello $(WHO)}
  - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
  - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
terminationGracePeriodSeconds: 7`);
  assert.deepEqual(container.command, ['echo', 'hello world']);
  assert.deepEqual(container.args, ['$(GREETING)', '10.244.0.9', '$(NONE)']);
  assert.equal(container.workingDir, '/tmp');
  assert.deepEqual(
    container.envs.map(({ key, value }) => [key, Buffer.from(value).toString()]),
    [
      ['WHO', 'world'],
      ['GREETING', 'hello world'],
      ['POD_IP', '10.244.0.9'],
      ['NODE', 'n1'],
    ],
  );
  assert.equal(container.logPath, 'c/0.log');
  assert.equal(container.labels[labels.CONTAINER_NAME], 'c');
  assert.equal(container.annotations[labels.RESTART_COUNT], '0');
  assert.equal(container.annotations[labels.GRACE_PERIOD], '7');
  assert.deepEqual(
    container.mounts.map(({ containerPath, hostPath }) => [containerPath, hostPath]),
    [['/etc/hosts', `/var/lib/tskubelet/pods/${uid}/etc-hosts`]],
  );
});

test('volumes are mounted where they are on the host, and a volume at /etc/hosts replaces ours', () => {
  const { container, uid } = start(`volumes:
- {name: cache, emptyDir: {}}
- {name: hosts, hostPath: {path: /srv/hosts, type: File}}
containers:
- name: c
  image: busybox
  volumeMounts: [{name: cache, mountPath: /cache}, {name: hosts, mountPath: /etc/hosts, readOnly: true}]`);
  assert.deepEqual(
    container.mounts.map(({ containerPath, hostPath, readonly }) => [containerPath, hostPath, readonly]),
    [
      ['/cache', `/var/lib/tskubelet/pods/${uid}/volumes/kubernetes.io~empty-dir/cache`, false],
      ['/etc/hosts', '/srv/hosts', true],
    ],
  );
});

test('only ports with a hostPort are mapped, and none in the host network', () => {
  const ports =
    'ports: [{containerPort: 80, hostPort: 8080}, {containerPort: 53, hostPort: 5353, protocol: UDP, hostIP: 127.0.0.1}, {containerPort: 9}]';
  assert.deepEqual(plain(start(`containers: [{name: c, image: busybox, ${ports}}]`).sandbox.portMappings), [
    { protocol: Protocol.TCP, containerPort: 80, hostPort: 8080, hostIp: '' },
    { protocol: Protocol.UDP, containerPort: 53, hostPort: 5353, hostIp: '127.0.0.1' },
  ]);
  const host = start('hostNetwork: true\ncontainers: [{name: c, image: busybox, ports: [{containerPort: 80}]}]').sandbox;
  assert.deepEqual(host.portMappings, []);
  assert.equal(host.hostname, '');
});

test('namespaces follow the spec, in the sandbox and in each container', () => {
  const { NODE, POD, CONTAINER } = NamespaceMode;
  for (const [spec, network, pid, ipc] of [
    ['', POD, CONTAINER, POD],
    ['hostNetwork: true', NODE, CONTAINER, POD],
    ['hostPID: true', POD, NODE, POD],
    ['hostIPC: true', POD, CONTAINER, NODE],
    ['shareProcessNamespace: true', POD, POD, POD],
  ] as const) {
    const { sandbox, container } = start(`${spec}\ncontainers: [{name: c, image: busybox}]`);
    const expected = { network, pid, ipc, targetId: '' };
    assert.deepEqual(plain(sandbox.linux?.securityContext?.namespaceOptions), expected, spec);
    assert.deepEqual(plain(container.linux?.securityContext?.namespaceOptions), expected, spec);
  }
});

test('a plain container gets the default seccomp profile and hidden paths, a privileged one neither', () => {
  const plain = start('containers: [{name: c, image: busybox}]').container.linux?.securityContext;
  assert.equal(plain?.seccomp?.profileType, ProfileType.RuntimeDefault);
  assert.ok(plain?.maskedPaths.includes('/proc/kcore'));
  assert.ok(plain?.readonlyPaths.includes('/proc/sys'));
  const privileged = start('containers: [{name: c, image: busybox, securityContext: {privileged: true}}]');
  assert.equal(privileged.container.linux?.securityContext?.seccomp?.profileType, ProfileType.Unconfined);
  assert.deepEqual(privileged.container.linux?.securityContext?.maskedPaths, []);
  assert.equal(privileged.container.linux?.securityContext?.privileged, true);
  assert.equal(privileged.sandbox.linux?.securityContext?.privileged, true);
  const asked = start('securityContext: {seccompProfile: {type: Unconfined}}\ncontainers: [{name: c, image: busybox}]');
  assert.equal(asked.container.linux?.securityContext?.seccomp?.profileType, ProfileType.Unconfined);
});

test("the container's word on users goes before the pod's", () => {
  const { containers } = start(`securityContext: {runAsUser: 1000, runAsGroup: 2000, supplementalGroups: [3000]}
containers:
- {name: a, image: busybox}
- {name: b, image: busybox, securityContext: {runAsUser: 0, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {add: [NET_ADMIN], drop: [ALL]}}}`);
  const [a, b] = containers.map(({ linux }) => linux?.securityContext);
  assert.deepEqual([a?.runAsUser?.value, a?.runAsGroup?.value, a?.supplementalGroups], [1000n, 2000n, [3000n]]);
  assert.deepEqual([b?.runAsUser?.value, b?.noNewPrivs, b?.readonlyRootfs], [0n, true, true]);
  assert.deepEqual([b?.capabilities?.addCapabilities, b?.capabilities?.dropCapabilities], [['NET_ADMIN'], ['ALL']]);
  assert.equal(a?.noNewPrivs, false);
});

test('a group without a user takes the user of the image beside it', () => {
  const pod = makePod('Always', ['c'], { securityContext: { runAsGroup: 5 } });
  const container = pod.spec?.containers[0];
  assert.ok(container);
  assert.equal(planContainerSecurity(pod, container, { username: 'www' }, '/s').runAsUsername, 'www');
  assert.equal(planContainerSecurity(pod, container, { username: '', uid: 7n }, '/s').runAsUser?.value, 7n);
});

test('runAsNonRoot refuses what would run as root', () => {
  for (const [user, image, refused] of [
    [undefined, { username: '', uid: 0n }, /image will run as root/],
    [undefined, { username: '' }, /image will run as root/],
    [undefined, { username: 'www' }, /non-numeric user \(www\)/],
    [undefined, { username: '', uid: 1000n }, undefined],
    [0, { username: '', uid: 1000n }, /runAsUser breaks non-root policy/],
    [1000, { username: '', uid: 0n }, undefined],
  ] as const) {
    const spec: Partial<V1PodSpec> = { securityContext: { runAsNonRoot: true, ...(user === undefined ? {} : { runAsUser: user }) } };
    const pod = makePod('Always', ['c'], spec);
    const problem = rootProblem(pod, pod.spec!.containers[0]!, image);
    if (refused === undefined) assert.equal(problem, undefined);
    else assert.match(problem ?? '', refused);
  }
});

test('a Localhost profile is a file below the node’s seccomp directory', () => {
  const pod = makePod('Always', ['c'], { securityContext: { seccompProfile: { type: 'Localhost', localhostProfile: 'audit/a.json' } } });
  const { seccomp } = planContainerSecurity(pod, pod.spec!.containers[0]!, { username: '' }, '/var/lib/tskubelet/seccomp');
  assert.equal(seccomp?.localhostRef, '/var/lib/tskubelet/seccomp/audit/a.json');
});

test('a part of a volume is mounted from a place of its own, which variables may name', () => {
  const { container, uid } = start(`containers:
- name: c
  image: busybox
  env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}, {name: NOTHING, value: ""}]
  volumeMounts:
  - {name: data, mountPath: /whole, subPathExpr: $(NOTHING)}
  - {name: data, mountPath: /part, subPath: a/b}
  - {name: data, mountPath: /own, subPathExpr: logs/$(POD)}
  - {name: other, mountPath: /image, subPathExpr: $(POD)}
volumes:
- {name: data, emptyDir: {}}
- {name: other, image: {reference: x}}`);
  const mounts = container.mounts.map(({ containerPath, hostPath, imageSubPath }) => [containerPath, hostPath, imageSubPath]);
  const parts = `/pods/${uid}/volume-subpaths/data/c`;
  assert.deepEqual(
    mounts.slice(0, 4).map(([target, source = '', part]) => [target, source.replace(/^.*(?=\/pods\/)/, ''), part]),
    [
      ['/whole', `/pods/${uid}/volumes/kubernetes.io~empty-dir/data`, ''],
      ['/part', `${parts}/1`, ''],
      ['/own', `${parts}/2`, ''],
      ['/image', '', 'web'],
    ],
  );
  for (const [text, message] of [
    ['$(UP)/x', /has no variable UP/],
    ['x/$(UPWARDS)', /subPath "x\/\.\." of the mount at \/d must be a path in the volume/],
    ['$(ROOT)', /must be a path in the volume/],
  ] as const)
    assert.throws(
      () =>
        start(`containers:
- name: c
  image: busybox
  env: [{name: ROOT, value: /etc}, {name: UPWARDS, value: ..}]
  volumeMounts: [{name: data, mountPath: /d, subPathExpr: "${text}"}]
volumes: [{name: data, emptyDir: {}}]`),
      message,
    );
});

test('AppArmor and SELinux of a container are its own word, else the pod’s; without a word the runtime decides', () => {
  const { sandbox, containers } = start(`securityContext:
  appArmorProfile: {type: Unconfined}
  seLinuxOptions: {type: pod_t, level: "s0:c1"}
containers:
- {name: a, image: busybox}
- name: b
  image: busybox
  securityContext:
    appArmorProfile: {type: Localhost, localhostProfile: strict}
    seLinuxOptions: {type: own_t}`);
  assert.equal(sandbox.linux?.securityContext?.selinuxOptions?.type, 'pod_t');
  const told = containers.map(({ linux }) => {
    const { apparmor, selinuxOptions } = plain(linux?.securityContext);
    return [apparmor, selinuxOptions];
  });
  assert.deepEqual(told, [
    [
      { profileType: 1, localhostRef: '' },
      { user: '', role: '', type: 'pod_t', level: 's0:c1' },
    ],
    [
      { profileType: 2, localhostRef: 'strict' },
      { user: '', role: '', type: 'own_t', level: '' },
    ],
  ]);
  const { container } = start('containers: [{name: c, image: busybox}]');
  assert.equal(container.linux?.securityContext?.apparmor, undefined);
});
