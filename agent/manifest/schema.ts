// The fields of a v1 Pod as of Kubernetes 1.35-1.37, by object: type, and what tskubelet does with each.
// A table and nothing else: decode.ts walks it. A field that is in none of the three lists of its object is unknown.

/** "string", "[]string", "map[string]", "Container", "[]Container"; "any" is not looked into. */
export type FieldType = string;

export interface Later {
  readonly type: FieldType;
  /** The value that means the same as leaving the field out. */
  readonly usual?: unknown;
  /** Present: a pod that sets the field is refused, since running it without would be wrong. Why, in one clause. */
  readonly refused?: string;
}

export interface ObjectSchema {
  /** Acted on (where the object itself is). */
  readonly fields: Readonly<Record<string, FieldType>>;
  /** Known, not yet acted on. */
  readonly later?: Readonly<Record<string, Later>>;
  /** Written by an API server into what it returns; dropped without a word. */
  readonly server?: readonly string[];
}

const later = (type: FieldType, usual?: unknown): Later => (usual === undefined ? { type } : { type, usual });
const refused = (type: FieldType, why: string, usual?: unknown): Later => ({ ...later(type, usual), refused: why });

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

const notMounted = 'its container would start without the files';

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

/** Objects whose fields are acted on, or would be if their parent's field were. */
export const podObjects: Readonly<Record<string, ObjectSchema>> = {
  Pod: {
    fields: { apiVersion: 'string', kind: 'string', metadata: 'ObjectMeta', spec: 'PodSpec' },
    server: ['status'],
  },
  ObjectMeta: {
    fields: { name: 'string', namespace: 'string', uid: 'string', labels: 'map[string]', annotations: 'map[string]' },
    later: {
      finalizers: later('[]string'),
      generateName: later('string'),
      ownerReferences: later('[]OwnerReference'),
    },
    server: [
      'creationTimestamp',
      'deletionGracePeriodSeconds',
      'deletionTimestamp',
      'generation',
      'managedFields',
      'resourceVersion',
      'selfLink',
    ],
  },
  OwnerReference: {
    fields: { apiVersion: 'string', blockOwnerDeletion: 'bool', controller: 'bool', kind: 'string', name: 'string', uid: 'string' },
  },

  PodSpec: {
    fields: {
      containers: '[]Container',
      dnsConfig: 'PodDNSConfig',
      dnsPolicy: 'string',
      enableServiceLinks: 'bool',
      hostAliases: '[]HostAlias',
      hostIPC: 'bool',
      hostNetwork: 'bool',
      // Without an API server there are no RuntimeClass objects: the name is the runtime's handler itself.
      runtimeClassName: 'string',
      hostPID: 'bool',
      hostUsers: 'bool',
      hostname: 'string',
      nodeName: 'string',
      os: 'PodOS',
      restartPolicy: 'string',
      securityContext: 'PodSecurityContext',
      setHostnameAsFQDN: 'bool',
      shareProcessNamespace: 'bool',
      subdomain: 'string',
      terminationGracePeriodSeconds: 'int64',
      volumes: '[]Volume',
    },
    later: {
      activeDeadlineSeconds: later('int64'),
      affinity: later('Affinity'),
      automountServiceAccountToken: later('bool', false),
      ephemeralContainers: refused('[]EphemeralContainer', 'they are added to a pod that runs and have no place in a manifest'),
      hostnameOverride: refused('string', 'the pod would have another hostname'),
      imagePullSecrets: later('[]LocalObjectReference'),
      initContainers: refused('[]Container', 'the containers would start unprepared'),
      nodeSelector: later('map[string]'),
      overhead: later('map[quantity]'),
      preemptionPolicy: later('string', 'PreemptLowerPriority'),
      priority: later('int32', 0),
      priorityClassName: later('string'),
      readinessGates: later('[]PodReadinessGate'),
      resourceClaims: refused('[]PodResourceClaim', 'the containers would start without their devices'),
      resources: refused('ResourceRequirements', 'the pod would run without its limits; set them per container'),
      schedulerName: later('string', 'default-scheduler'),
      schedulingGates: later('[]PodSchedulingGate'),
      schedulingGroup: later('PodSchedulingGroup'),
      serviceAccount: later('string', 'default'),
      serviceAccountName: later('string', 'default'),
      tolerations: later('[]Toleration'),
      topologySpreadConstraints: later('[]TopologySpreadConstraint'),
    },
  },
  PodOS: { fields: { name: 'string' } },
  HostAlias: { fields: { hostnames: '[]string', ip: 'string' } },
  PodDNSConfig: { fields: { nameservers: '[]string', options: '[]PodDNSConfigOption', searches: '[]string' } },
  PodDNSConfigOption: { fields: { name: 'string', value: 'string' } },
  LocalObjectReference: { fields: { name: 'string' } },
  PodReadinessGate: { fields: { conditionType: 'string' } },
  PodResourceClaim: { fields: { name: 'string', resourceClaimName: 'string', resourceClaimTemplateName: 'string' } },
  PodSchedulingGate: { fields: { name: 'string' } },
  PodSchedulingGroup: { fields: { podGroupName: 'string' } },
  PodSecurityContext: {
    fields: {
      runAsGroup: 'int64',
      runAsNonRoot: 'bool',
      runAsUser: 'int64',
      seccompProfile: 'SeccompProfile',
      supplementalGroups: '[]int64',
    },
    later: {
      appArmorProfile: later('AppArmorProfile'),
      fsGroup: later('int64'),
      fsGroupChangePolicy: later('string', 'Always'),
      seLinuxChangePolicy: later('string', 'MountOption'),
      seLinuxOptions: later('SELinuxOptions'),
      supplementalGroupsPolicy: refused('string', "the processes would keep the image's groups", 'Merge'),
      sysctls: refused('[]Sysctl', "the pod would run with the kernel's defaults"),
      windowsOptions: later('WindowsSecurityContextOptions'),
    },
  },
  SecurityContext: {
    fields: {
      allowPrivilegeEscalation: 'bool',
      capabilities: 'Capabilities',
      privileged: 'bool',
      readOnlyRootFilesystem: 'bool',
      runAsGroup: 'int64',
      runAsNonRoot: 'bool',
      runAsUser: 'int64',
      seccompProfile: 'SeccompProfile',
    },
    later: {
      appArmorProfile: later('AppArmorProfile'),
      procMount: later('string', 'Default'),
      seLinuxOptions: later('SELinuxOptions'),
      windowsOptions: later('WindowsSecurityContextOptions'),
    },
  },
  SeccompProfile: { fields: { type: 'string', localhostProfile: 'string' } },
  AppArmorProfile: {
    fields: { type: 'string' },
    later: { localhostProfile: refused('string', 'the container would run without its profile') },
  },
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
      // Of an image volume; of others it is refused by validate-mounts.ts.
      subPath: 'string',
    },
    later: {
      subPathExpr: refused('string', 'the container would see the whole volume'),
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

  // decode.ts refuses a volume of a later kind where a container mounts it, and reports it as later where none does.
  Volume: {
    fields: { name: 'string', emptyDir: 'EmptyDirVolumeSource', hostPath: 'HostPathVolumeSource', image: 'ImageVolumeSource' },
    later: Object.fromEntries(
      [
        'awsElasticBlockStore:AWSElasticBlockStoreVolumeSource',
        'azureDisk:AzureDiskVolumeSource',
        'azureFile:AzureFileVolumeSource',
        'cephfs:CephFSVolumeSource',
        'cinder:CinderVolumeSource',
        'configMap:ConfigMapVolumeSource',
        'csi:CSIVolumeSource',
        'downwardAPI:DownwardAPIVolumeSource',
        'ephemeral:EphemeralVolumeSource',
        'fc:FCVolumeSource',
        'flexVolume:FlexVolumeSource',
        'flocker:FlockerVolumeSource',
        'gcePersistentDisk:GCEPersistentDiskVolumeSource',
        'gitRepo:GitRepoVolumeSource',
        'glusterfs:GlusterfsVolumeSource',
        'iscsi:ISCSIVolumeSource',
        'nfs:NFSVolumeSource',
        'persistentVolumeClaim:PersistentVolumeClaimVolumeSource',
        'photonPersistentDisk:PhotonPersistentDiskVolumeSource',
        'portworxVolume:PortworxVolumeSource',
        'projected:ProjectedVolumeSource',
        'quobyte:QuobyteVolumeSource',
        'rbd:RBDVolumeSource',
        'scaleIO:ScaleIOVolumeSource',
        'secret:SecretVolumeSource',
        'storageos:StorageOSVolumeSource',
        'vsphereVolume:VsphereVirtualDiskVolumeSource',
      ].map((entry) => {
        const [name = '', type = ''] = entry.split(':');
        return [name, refused(type, notMounted)];
      }),
    ),
  },
  EmptyDirVolumeSource: { fields: { medium: 'string', sizeLimit: 'quantity' } },
  HostPathVolumeSource: { fields: { path: 'string', type: 'string' } },
  ImageVolumeSource: { fields: { pullPolicy: 'string', reference: 'string' } },

  // Known so that a typing error in them is found; tskubelet acts on none of these yet.
  AWSElasticBlockStoreVolumeSource: { fields: { fsType: 'string', partition: 'int32', readOnly: 'bool', volumeID: 'string' } },
  Affinity: { fields: { nodeAffinity: 'NodeAffinity', podAffinity: 'PodAffinity', podAntiAffinity: 'PodAntiAffinity' } },
  AzureDiskVolumeSource: {
    fields: { cachingMode: 'string', diskName: 'string', diskURI: 'string', fsType: 'string', kind: 'string', readOnly: 'bool' },
  },
  AzureFileVolumeSource: { fields: { readOnly: 'bool', secretName: 'string', shareName: 'string' } },
  CSIVolumeSource: {
    fields: {
      driver: 'string',
      fsType: 'string',
      nodePublishSecretRef: 'LocalObjectReference',
      readOnly: 'bool',
      volumeAttributes: 'map[string]',
    },
  },
  CephFSVolumeSource: {
    fields: {
      monitors: '[]string',
      path: 'string',
      readOnly: 'bool',
      secretFile: 'string',
      secretRef: 'LocalObjectReference',
      user: 'string',
    },
  },
  CinderVolumeSource: { fields: { fsType: 'string', readOnly: 'bool', secretRef: 'LocalObjectReference', volumeID: 'string' } },
  ClusterTrustBundleProjection: {
    fields: { labelSelector: 'LabelSelector', name: 'string', optional: 'bool', path: 'string', signerName: 'string' },
  },
  ConfigMapProjection: { fields: { items: '[]KeyToPath', name: 'string', optional: 'bool' } },
  ConfigMapVolumeSource: { fields: { defaultMode: 'int32', items: '[]KeyToPath', name: 'string', optional: 'bool' } },
  DownwardAPIProjection: { fields: { items: '[]DownwardAPIVolumeFile' } },
  DownwardAPIVolumeFile: {
    fields: { fieldRef: 'ObjectFieldSelector', mode: 'int32', path: 'string', resourceFieldRef: 'ResourceFieldSelector' },
  },
  DownwardAPIVolumeSource: { fields: { defaultMode: 'int32', items: '[]DownwardAPIVolumeFile' } },
  EphemeralVolumeSource: { fields: { volumeClaimTemplate: 'PersistentVolumeClaimTemplate' } },
  FCVolumeSource: { fields: { fsType: 'string', lun: 'int32', readOnly: 'bool', targetWWNs: '[]string', wwids: '[]string' } },
  FlexVolumeSource: {
    fields: { driver: 'string', fsType: 'string', options: 'map[string]', readOnly: 'bool', secretRef: 'LocalObjectReference' },
  },
  FlockerVolumeSource: { fields: { datasetName: 'string', datasetUUID: 'string' } },
  GCEPersistentDiskVolumeSource: { fields: { fsType: 'string', partition: 'int32', pdName: 'string', readOnly: 'bool' } },
  GitRepoVolumeSource: { fields: { directory: 'string', repository: 'string', revision: 'string' } },
  GlusterfsVolumeSource: { fields: { endpoints: 'string', path: 'string', readOnly: 'bool' } },
  ISCSIVolumeSource: {
    fields: {
      chapAuthDiscovery: 'bool',
      chapAuthSession: 'bool',
      fsType: 'string',
      initiatorName: 'string',
      iqn: 'string',
      iscsiInterface: 'string',
      lun: 'int32',
      portals: '[]string',
      readOnly: 'bool',
      secretRef: 'LocalObjectReference',
      targetPortal: 'string',
    },
  },
  KeyToPath: { fields: { key: 'string', mode: 'int32', path: 'string' } },
  LabelSelector: { fields: { matchExpressions: '[]LabelSelectorRequirement', matchLabels: 'map[string]' } },
  LabelSelectorRequirement: { fields: { key: 'string', operator: 'string', values: '[]string' } },
  NFSVolumeSource: { fields: { path: 'string', readOnly: 'bool', server: 'string' } },
  NodeAffinity: {
    fields: {
      preferredDuringSchedulingIgnoredDuringExecution: '[]PreferredSchedulingTerm',
      requiredDuringSchedulingIgnoredDuringExecution: 'NodeSelector',
    },
  },
  NodeSelector: { fields: { nodeSelectorTerms: '[]NodeSelectorTerm' } },
  NodeSelectorRequirement: { fields: { key: 'string', operator: 'string', values: '[]string' } },
  NodeSelectorTerm: { fields: { matchExpressions: '[]NodeSelectorRequirement', matchFields: '[]NodeSelectorRequirement' } },
  PersistentVolumeClaimSpec: {
    fields: {
      accessModes: '[]string',
      dataSource: 'TypedLocalObjectReference',
      dataSourceRef: 'TypedObjectReference',
      resources: 'VolumeResourceRequirements',
      selector: 'LabelSelector',
      storageClassName: 'string',
      volumeAttributesClassName: 'string',
      volumeMode: 'string',
      volumeName: 'string',
    },
  },
  PersistentVolumeClaimTemplate: { fields: { metadata: 'ObjectMeta', spec: 'PersistentVolumeClaimSpec' } },
  PersistentVolumeClaimVolumeSource: { fields: { claimName: 'string', readOnly: 'bool' } },
  PhotonPersistentDiskVolumeSource: { fields: { fsType: 'string', pdID: 'string' } },
  PodAffinity: {
    fields: {
      preferredDuringSchedulingIgnoredDuringExecution: '[]WeightedPodAffinityTerm',
      requiredDuringSchedulingIgnoredDuringExecution: '[]PodAffinityTerm',
    },
  },
  PodAffinityTerm: {
    fields: {
      labelSelector: 'LabelSelector',
      matchLabelKeys: '[]string',
      mismatchLabelKeys: '[]string',
      namespaceSelector: 'LabelSelector',
      namespaces: '[]string',
      topologyKey: 'string',
    },
  },
  PodAntiAffinity: {
    fields: {
      preferredDuringSchedulingIgnoredDuringExecution: '[]WeightedPodAffinityTerm',
      requiredDuringSchedulingIgnoredDuringExecution: '[]PodAffinityTerm',
    },
  },
  PodCertificateProjection: {
    fields: {
      certificateChainPath: 'string',
      credentialBundlePath: 'string',
      keyPath: 'string',
      keyType: 'string',
      maxExpirationSeconds: 'int32',
      signerName: 'string',
      userAnnotations: 'map[string]',
    },
  },
  PortworxVolumeSource: { fields: { fsType: 'string', readOnly: 'bool', volumeID: 'string' } },
  PreferredSchedulingTerm: { fields: { preference: 'NodeSelectorTerm', weight: 'int32' } },
  ProjectedVolumeSource: { fields: { defaultMode: 'int32', sources: '[]VolumeProjection' } },
  QuobyteVolumeSource: {
    fields: { group: 'string', readOnly: 'bool', registry: 'string', tenant: 'string', user: 'string', volume: 'string' },
  },
  RBDVolumeSource: {
    fields: {
      fsType: 'string',
      image: 'string',
      keyring: 'string',
      monitors: '[]string',
      pool: 'string',
      readOnly: 'bool',
      secretRef: 'LocalObjectReference',
      user: 'string',
    },
  },
  ScaleIOVolumeSource: {
    fields: {
      fsType: 'string',
      gateway: 'string',
      protectionDomain: 'string',
      readOnly: 'bool',
      secretRef: 'LocalObjectReference',
      sslEnabled: 'bool',
      storageMode: 'string',
      storagePool: 'string',
      system: 'string',
      volumeName: 'string',
    },
  },
  SecretProjection: { fields: { items: '[]KeyToPath', name: 'string', optional: 'bool' } },
  SecretVolumeSource: { fields: { defaultMode: 'int32', items: '[]KeyToPath', optional: 'bool', secretName: 'string' } },
  ServiceAccountTokenProjection: { fields: { audience: 'string', expirationSeconds: 'int64', path: 'string' } },
  StorageOSVolumeSource: {
    fields: { fsType: 'string', readOnly: 'bool', secretRef: 'LocalObjectReference', volumeName: 'string', volumeNamespace: 'string' },
  },
  Toleration: { fields: { effect: 'string', key: 'string', operator: 'string', tolerationSeconds: 'int64', value: 'string' } },
  TopologySpreadConstraint: {
    fields: {
      labelSelector: 'LabelSelector',
      matchLabelKeys: '[]string',
      maxSkew: 'int32',
      minDomains: 'int32',
      nodeAffinityPolicy: 'string',
      nodeTaintsPolicy: 'string',
      topologyKey: 'string',
      whenUnsatisfiable: 'string',
    },
  },
  TypedLocalObjectReference: { fields: { apiGroup: 'string', kind: 'string', name: 'string' } },
  TypedObjectReference: { fields: { apiGroup: 'string', kind: 'string', name: 'string', namespace: 'string' } },
  VolumeProjection: {
    fields: {
      clusterTrustBundle: 'ClusterTrustBundleProjection',
      configMap: 'ConfigMapProjection',
      downwardAPI: 'DownwardAPIProjection',
      podCertificate: 'PodCertificateProjection',
      secret: 'SecretProjection',
      serviceAccountToken: 'ServiceAccountTokenProjection',
    },
  },
  VolumeResourceRequirements: { fields: { limits: 'map[quantity]', requests: 'map[quantity]' } },
  VsphereVirtualDiskVolumeSource: {
    fields: { fsType: 'string', storagePolicyID: 'string', storagePolicyName: 'string', volumePath: 'string' },
  },
  WeightedPodAffinityTerm: { fields: { podAffinityTerm: 'PodAffinityTerm', weight: 'int32' } },
};
