// Owns the annotations by which OCI runtimes and hooks know a Kubernetes container: containerd's names.

export interface OciNames {
  readonly containerName: string;
  /** The image as the request named it. */
  readonly imageName: string;
  readonly sandboxId: string;
  readonly sandboxName: string;
  readonly sandboxNamespace: string;
  readonly sandboxUid: string;
}

/** Nothing of the pod's own annotations: some runtimes obey them (run.oci.…), and a pod's author is not the node's. */
export function planOciAnnotations(names: OciNames): Readonly<Record<string, string>> {
  return {
    'io.kubernetes.cri.container-type': 'container',
    'io.kubernetes.cri.container-name': names.containerName,
    'io.kubernetes.cri.image-name': names.imageName,
    'io.kubernetes.cri.sandbox-id': names.sandboxId,
    'io.kubernetes.cri.sandbox-name': names.sandboxName,
    'io.kubernetes.cri.sandbox-namespace': names.sandboxNamespace,
    'io.kubernetes.cri.sandbox-uid': names.sandboxUid,
  };
}
