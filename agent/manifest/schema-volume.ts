// Volumes. The kinds that are not mounted yet are described so that a typing error in them is found. A table and nothing else.
import { type ObjectSchema, refused } from './schema-object.ts';

const notMounted = 'its container would start without the files';

export const volumeObjects: Readonly<Record<string, ObjectSchema>> = {
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
  AWSElasticBlockStoreVolumeSource: { fields: { fsType: 'string', partition: 'int32', readOnly: 'bool', volumeID: 'string' } },
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
  NFSVolumeSource: { fields: { path: 'string', readOnly: 'bool', server: 'string' } },
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
};
