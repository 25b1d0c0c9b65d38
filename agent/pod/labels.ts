// Owns the names of the labels and annotations that tie runtime objects to their Pods. A restarted agent knows its pods by these alone.

export const POD_NAME = 'io.kubernetes.pod.name';
export const POD_NAMESPACE = 'io.kubernetes.pod.namespace';
export const POD_UID = 'io.kubernetes.pod.uid';
export const CONTAINER_NAME = 'io.kubernetes.container.name';

export const CONFIG_HASH = 'kubernetes.io/config.hash';
export const CONFIG_SOURCE = 'kubernetes.io/config.source';

export const CONTAINER_HASH = 'io.kubernetes.container.hash';
export const RESTART_COUNT = 'io.kubernetes.container.restartCount';
export const TERMINATION_MESSAGE_PATH = 'io.kubernetes.container.terminationMessagePath';
export const TERMINATION_MESSAGE_POLICY = 'io.kubernetes.container.terminationMessagePolicy';
export const CONTAINER_PORTS = 'io.kubernetes.container.ports';
export const CONTAINER_TYPE = 'io.kubernetes.container.type';
export const GRACE_PERIOD = 'io.kubernetes.pod.terminationGracePeriod';

/** On sandboxes: the node whose agent made it. Only such pods are taken for orphans. */
export const AGENT_NODE = 'tskubelet.dev/node';
/** On sandboxes: the file or URL that the pod came from. */
export const ORIGIN_FILE = 'tskubelet.dev/origin';
/** On containers: which restart in a row this is (0, 1, …), so that a restarted agent goes on with the same back-off. */
export const BACKOFF_STEP = 'tskubelet.dev/backoff-step';
