// The steps that an attachment is made of, in the shape of CNI plugins: each adds to what those before it made, and can take it back.
import type { NetlinkSocket } from '../runtime/linux/netlink-socket.ts';
import type { AttachmentRecord } from './attachment.ts';

export interface PluginContext {
  readonly netnsFd: number;
  /** rtnetlink in the sandbox's network namespace. */
  readonly sandbox: NetlinkSocket;
}

export interface Plugin {
  readonly type: 'host-local' | 'bridge' | 'bandwidth' | 'portmap';
  /** Gives the record with what this step found out (CNI's result). */
  add(record: AttachmentRecord, context: PluginContext): Promise<AttachmentRecord>;
  /** Absent is success, also when `add` stopped half way. */
  del(record: AttachmentRecord): Promise<void>;
}

/** A failed attach whose undo failed too: what is left is taken back by the next detach or reconcile. */
export class UndoError extends AggregateError {
  constructor(failure: unknown, undo: readonly unknown[]) {
    super(
      undo,
      `${String((failure as Error).message ?? failure)}; and taking it back: ${undo.map((e) => (e as Error).message).join('; ')}`,
    );
    this.name = 'UndoError';
    this.cause = failure;
  }
}

/** Runs `add` of each step in order. When it throws, the caller takes back whatever was made by delAll. */
export async function addAll(
  plugins: readonly Plugin[],
  record: AttachmentRecord,
  context: PluginContext,
  faultPoint: (name: string) => void,
): Promise<AttachmentRecord> {
  let current = record;
  for (const plugin of plugins) {
    current = await plugin.add(current, context);
    faultPoint(`added ${plugin.type}`);
  }
  return current;
}

/** Runs `del` of each step in reverse, all of them whatever fails; gives the failures. */
export async function delAll(plugins: readonly Plugin[], record: AttachmentRecord, faultPoint: (name: string) => void): Promise<unknown[]> {
  const failures: unknown[] = [];
  for (const plugin of plugins.toReversed()) {
    try {
      await plugin.del(record);
    } catch (error) {
      failures.push(error);
    }
    faultPoint(`deleted ${plugin.type}`);
  }
  return failures;
}
