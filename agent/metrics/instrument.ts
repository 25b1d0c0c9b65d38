// Owns counting the CRI calls that the agent makes: the same client, each call timed.
import type { CriClient } from '../../cri-proto/client.ts';

/** The kubelet's name of an operation: runPodSandbox is run_podsandbox. */
export function operationType(method: string): string {
  return method.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`).replace('pod_sandbox', 'podsandbox');
}

export type OnCall = (operation: string, seconds: number, failed: boolean) => void;

export function instrumentCri(cri: CriClient, onCall: OnCall): CriClient {
  return { ...cri, runtime: instrumentCalls(cri.runtime, onCall), image: instrumentCalls(cri.image, onCall) };
}

function instrumentCalls<S extends object>(service: S, onCall: OnCall): S {
  const calls = Object.entries(service).map(([name, call]) => [name, instrumentCall(operationType(name), call, onCall)]);
  return Object.fromEntries(calls) as S;
}

type AnyCall = (...args: readonly unknown[]) => unknown;

function instrumentCall(operation: string, call: AnyCall, onCall: OnCall): AnyCall {
  return (...args) => {
    const startedMs = performance.now();
    const result = call(...args);
    // Streams last as long as the agent: their duration says nothing.
    if (!(result instanceof Promise)) return result;
    const done = (failed: boolean) => onCall(operation, (performance.now() - startedMs) / 1000, failed);
    result.then(
      () => done(false),
      () => done(true),
    );
    return result;
  };
}
