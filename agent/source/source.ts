// The contract between pod sources and the pod workers.
import type { V1Pod } from '@kubernetes/client-node';

/** A pod that shall run: decoded, defaulted, validated, with metadata.uid and namespace set. */
export interface DesiredPod {
  readonly pod: V1Pod;
  /** Changes exactly when the pod must be replaced. */
  readonly hash: string;
  readonly origin: Origin;
}

export interface Origin {
  readonly source: 'file' | 'http' | 'api' | 'run';
  /** File path or URL; document counts from 1 within the file. */
  readonly file: string;
  readonly document: number;
}

/** Something wrong with a file or document, told once; it never keeps other pods from running. */
export interface Problem {
  readonly origin: Origin;
  /** "spec.containers[0].resources.limits.memory", where known. */
  readonly fieldPath?: string;
  /** Counts from 1, where the parser knows it. */
  readonly line?: number;
  /** refused: the document (or file) is not used. ignored: the field is unknown. later: the field is known but not yet acted on. */
  readonly severity: 'refused' | 'ignored' | 'later';
  /** One sentence: what is wrong and what to do. */
  readonly message: string;
}

export interface SourceUpdate {
  readonly pods: readonly DesiredPod[];
  readonly problems: readonly Problem[];
}

export interface PodSource {
  close(): Promise<void>;
}
