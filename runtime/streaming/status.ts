// How an exec or attach ended, as Kubernetes tells it on the error stream: a metav1.Status from protocol v4 on, plain text before.
import { renderError } from '../errors.ts';

export type Ending = { readonly exitCode: number } | { readonly error: unknown };

/** An exit code that a refused start has, like a shell's 126 and 127; undefined for other errors. */
function startCode(error: unknown): number | undefined {
  for (let link = error; link instanceof Error; link = link.cause)
    if ('exitCode' in link && typeof link.exitCode === 'number') return link.exitCode;
  return undefined;
}

export function renderStatus(ending: Ending): string {
  if ('error' in ending) {
    const message = renderError(ending.error);
    const code = startCode(ending.error);
    return JSON.stringify({
      metadata: {},
      status: 'Failure',
      message: `Internal error occurred: ${message}`,
      reason: 'InternalError',
      details: {
        // The second cause is ours: kubectl looks for it with another reason only.
        causes: [{ message }, ...(code === undefined ? [] : [{ reason: 'ExitCode', message: String(code) }])],
      },
      code: 500,
    });
  }
  if (ending.exitCode === 0) return JSON.stringify({ metadata: {}, status: 'Success' });
  return JSON.stringify({
    metadata: {},
    status: 'Failure',
    message: renderText(ending),
    reason: 'NonZeroExitCode',
    details: { causes: [{ reason: 'ExitCode', message: String(ending.exitCode) }] },
  });
}

/** Empty when all is well. */
export function renderText(ending: Ending): string {
  if ('error' in ending) return `Internal error occurred: ${renderError(ending.error)}`;
  return ending.exitCode === 0 ? '' : `command terminated with non-zero exit code: exit status ${ending.exitCode}`;
}
