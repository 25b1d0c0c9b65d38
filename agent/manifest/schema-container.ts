// Containers: environment, ports, resources, mounts, probes, security context. A table and nothing else.
import { later, type ObjectSchema, refused } from './schema-object.ts';

const probe = {
  exec: 'ExecAction',
  failureThreshold: 'int32',
  grpc: 'GRPCAction',
  httpGet: 'HTTPGetAction',
  initialDelaySeconds: 'int32',
  periodSeconds: 'int32',
  successThreshold: 'int32',
  tcpSocket: 'TCPSocketAction',
  terminationGracePeriodSeconds: 'int64',
  timeoutSeconds: 'int32',
};

const container: ObjectSchema = {
  fields: {
    name: 'string',
    image: 'string',
    imagePullPolicy: 'string',
    command: '[]string',
    args: '[]string',
    workingDir: 'string',
    env: '[]EnvVar',
    ports: '[]ContainerPort',
    resources: 'ResourceRequirements',
    securityContext: 'SecurityContext',
    stdin: 'bool',
    stdinOnce: 'bool',
    tty: 'bool',
    volumeMounts: '[]VolumeMount',
  },
  later: {
    // An envFrom whose source is optional is skipped, as the kubelet skips one whose source is missing: see EnvFromSource.
    lifecycle: later('Lifecycle'),
    livenessProbe: later('Probe'),
    readinessProbe: later('Probe'),
    resizePolicy: later('[]ContainerResizePolicy'),
    restartPolicy: refused('string', 'the container would be restarted by another rule'),
    restartPolicyRules: refused('[]ContainerRestartRule', 'the container would be restarted by another rule'),
    startupProbe: later('Probe'),
    terminationMessagePath: later('string', '/dev/termination-log'),
    terminationMessagePolicy: later('string', 'File'),
    volumeDevices: refused('[]VolumeDevice', 'the container would start without its devices'),
  },
};

export const containerObjects: Readonly<Record<string, ObjectSchema>> = {
  SecurityContext: {
    fields: {
      allowPrivilegeEscalation: 'bool',
      capabilities: 'Capabilities',
      privileged: 'bool',
      readOnlyRootFilesystem: 'bool',
      runAsGroup: 'int64',
      runAsNonRoot: 'bool',
      runAsUser: 'int64',
      appArmorProfile: 'AppArmorProfile',
      seLinuxOptions: 'SELinuxOptions',
      seccompProfile: 'SeccompProfile',
    },
    later: {
      procMount: later('string', 'Default'),
      windowsOptions: later('WindowsSecurityContextOptions'),
    },
  },
  SeccompProfile: { fields: { type: 'string', localhostProfile: 'string' } },
  AppArmorProfile: { fields: { type: 'string', localhostProfile: 'string' } },
  Capabilities: { fields: { add: '[]string', drop: '[]string' } },
  SELinuxOptions: { fields: { level: 'string', role: 'string', type: 'string', user: 'string' } },
  WindowsSecurityContextOptions: {
    fields: { gmsaCredentialSpec: 'string', gmsaCredentialSpecName: 'string', hostProcess: 'bool', runAsUserName: 'string' },
  },
  Sysctl: { fields: { name: 'string', value: 'string' } },
  Container: {
    fields: { ...container.fields, envFrom: '[]EnvFromSource' },
    ...(container.later ? { later: container.later } : {}),
  },
  EphemeralContainer: {
    fields: { ...container.fields, envFrom: '[]EnvFromSource', targetContainerName: 'string' },
    ...(container.later ? { later: container.later } : {}),
  },
  EnvVar: { fields: { name: 'string', value: 'string', valueFrom: 'EnvVarSource' } },
  EnvVarSource: {
    fields: { fieldRef: 'ObjectFieldSelector' },
    later: {
      configMapKeyRef: refused('ConfigMapKeySelector', 'the variable would be missing; set a value, or optional: true'),
      fileKeyRef: refused('FileKeySelector', 'the variable would be missing; set a value, or optional: true'),
      resourceFieldRef: refused('ResourceFieldSelector', 'the variable would be missing; set a value'),
      secretKeyRef: refused('SecretKeySelector', 'the variable would be missing; set a value, or optional: true'),
    },
  },
  EnvFromSource: {
    fields: { prefix: 'string' },
    later: {
      configMapRef: refused('ConfigMapEnvSource', 'the variables would be missing; list them in env, or set optional: true'),
      secretRef: refused('SecretEnvSource', 'the variables would be missing; list them in env, or set optional: true'),
    },
  },
  ObjectFieldSelector: { fields: { apiVersion: 'string', fieldPath: 'string' } },
  ConfigMapKeySelector: { fields: { key: 'string', name: 'string', optional: 'bool' } },
  SecretKeySelector: { fields: { key: 'string', name: 'string', optional: 'bool' } },
  FileKeySelector: { fields: { key: 'string', optional: 'bool', path: 'string', volumeName: 'string' } },
  ResourceFieldSelector: { fields: { containerName: 'string', divisor: 'quantity', resource: 'string' } },
  ConfigMapEnvSource: { fields: { name: 'string', optional: 'bool' } },
  SecretEnvSource: { fields: { name: 'string', optional: 'bool' } },
  ContainerPort: { fields: { containerPort: 'int32', hostIP: 'string', hostPort: 'int32', name: 'string', protocol: 'string' } },
  ContainerResizePolicy: { fields: { resourceName: 'string', restartPolicy: 'string' } },
  ContainerRestartRule: { fields: { action: 'string', exitCodes: 'ContainerRestartRuleOnExitCodes' } },
  ContainerRestartRuleOnExitCodes: { fields: { operator: 'string', values: '[]int32' } },
  ResourceRequirements: {
    fields: { limits: 'map[quantity]', requests: 'map[quantity]' },
    later: { claims: refused('[]ResourceClaim', 'the container would start without its devices') },
  },
  ResourceClaim: { fields: { name: 'string', request: 'string' } },
  VolumeDevice: { fields: { devicePath: 'string', name: 'string' } },
  VolumeMount: {
    fields: {
      mountPath: 'string',
      mountPropagation: 'string',
      name: 'string',
      readOnly: 'bool',
      recursiveReadOnly: 'string',
      subPath: 'string',
      subPathExpr: 'string',
    },
  },
  Lifecycle: { fields: { postStart: 'LifecycleHandler', preStop: 'LifecycleHandler', stopSignal: 'string' } },
  LifecycleHandler: { fields: { exec: 'ExecAction', httpGet: 'HTTPGetAction', sleep: 'SleepAction', tcpSocket: 'TCPSocketAction' } },
  Probe: { fields: probe },
  ExecAction: { fields: { command: '[]string' } },
  GRPCAction: { fields: { port: 'int32', service: 'string' } },
  HTTPGetAction: { fields: { host: 'string', httpHeaders: '[]HTTPHeader', path: 'string', port: 'int-or-string', scheme: 'string' } },
  HTTPHeader: { fields: { name: 'string', value: 'string' } },
  SleepAction: { fields: { seconds: 'int64' } },
  TCPSocketAction: { fields: { host: 'string', port: 'int-or-string' } },
};
