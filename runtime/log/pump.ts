// The log pump: container output from FIFOs into CRI-format log files, without losing or doubling a line, whenever this process is killed.
import fs from 'node:fs';
import path from 'node:path';
import type { Logger } from '../logger.ts';
import { bootId } from '../state/process-identity.ts';
import { Batches, type FaultPoint, type Recovery } from './batch.ts';
import { type StreamName, streamNames } from './cri-format.ts';
import { type Journal, MAX_BATCH_BYTES, MAX_LOGS, openJournal } from './journal.ts';
import { keeperStarter } from './keeper.ts';
import { type FinishOptions, OpenLog, type OutputListener } from './open-log.ts';
import { Readiness } from './readiness.ts';
import { Staging, type StartKeeper } from './staging.ts';
import { TerminalRelay } from './terminal-relay.ts';

export interface OutputStream {
  readonly containerId: string;
  readonly name: StreamName;
  readonly fifoPath: string;
  /** stdout and stderr of a container share it. */
  readonly logPath: string;
}

export interface LogPump {
  /** Starts pumping (or goes on after a daemon restart). The FIFO's write side is held open by the container's shim. */
  add(streams: readonly OutputStream[]): Promise<void>;
  /** Lends every byte of the container's output from now on to `listener`; throws when its log is not open. Gives an end to it. */
  listen(containerId: string, listener: OutputListener): () => void;
  /** What comes out of a terminal goes into the FIFO of the container's stdout, and so into its log. `master` stays the caller's. */
  relay(master: number, fifoPath: string): TerminalRelay;
  /** After init ended: drains the FIFOs, writes an unfinished last line, closes. An unknown container is none to wait for. */
  finish(containerId: string, options?: FinishOptions): Promise<void>;
  /** CRI ReopenContainerLog: opens a new file at the same path; an error leaves the old one in use. */
  reopen(containerId: string): Promise<void>;
  /** Stops pumping; containers' output waits in their FIFOs. When no log is open the keeper ends too. */
  close(): Promise<void>;
}

export interface LogPumpOptions {
  /** A tmpfs: `log-journal`, `log-staging` and `log-parked/` are made in it. */
  readonly runDir: string;
  readonly logger: Logger;
  /** The cgroup2 directory of the shims, for the keeper of the staging pipe: what ends the daemon's cgroup spares it there. */
  readonly shimCgroup?: string | undefined;
  /** Default: the syscall program of keeper.ts. */
  readonly startKeeper?: StartKeeper;
  /** For crash tests: called between the steps of a batch. */
  readonly fault?: (point: FaultPoint) => void;
  /** For crash tests: the most that one write to a log is given. */
  readonly writeBytes?: number;
}

const RETRY_MS = 1000;

/** Opens the journal and the staging pipe in `runDir`, and settles the batch that an earlier process left open. */
export async function openLogPump(options: LogPumpOptions): Promise<LogPump> {
  const { runDir, logger, shimCgroup } = options;
  const startKeeper =
    options.startKeeper ?? keeperStarter(shimCgroup === undefined ? { v1Procs: [] } : { unified: shimCgroup, v1Procs: [] });
  fs.mkdirSync(runDir, { recursive: true, mode: 0o711 });
  const journal = openJournal(path.join(runDir, 'log-journal'));
  let staging: Staging | undefined;
  let readiness: Readiness | undefined;
  try {
    journal.adopt(bootId());
    staging = new Staging({ path: path.join(runDir, 'log-staging'), journal, startKeeper, logger });
    const batches = new Batches({
      journal,
      stagingFd: staging.fd,
      parkedDir: path.join(runDir, 'log-parked'),
      fault: options.fault,
      writeBytes: options.writeBytes,
    });
    report(batches.recover(staging.isSamePipe), logger);
    const discarded = batches.blockedSlot === undefined ? staging.discard() : 0;
    if (discarded > 0)
      logger.warn({ bytes: discarded }, 'container output of an unknown stream was in the log staging pipe and is dropped');
    readiness = new Readiness();
    await staging.keep(readiness.epoll);
    return new Pump({ journal, staging, batches, readiness, logger });
  } catch (error) {
    await readiness?.close();
    await staging?.close(false);
    journal.close();
    throw new Error('open the log pump', { cause: error });
  }
}

function report(recovery: Recovery, logger: Logger): void {
  const { found, containerId, stream, lostBytes, failure } = recovery;
  if (found === 'lost') {
    const bytes = lostBytes ?? `up to ${MAX_BATCH_BYTES}`;
    logger.warn(
      { containerId, stream: streamNames[stream ?? 0], bytes },
      'tskubelet and the keeper of the log staging pipe ended together: output that was on its way to the log is lost',
    );
  } else if (found !== 'idle') logger.debug({ containerId, found }, 'settled a log batch of an earlier tskubelet');
  if (failure !== undefined) logger.warn({ containerId, err: failure }, 'write container log; its output is kept and tried again');
}

interface PumpParts {
  readonly journal: Journal;
  readonly staging: Staging;
  readonly batches: Batches;
  readonly readiness: Readiness;
  readonly logger: Logger;
}

class Pump implements LogPump {
  private readonly parts: PumpParts;
  private readonly logs = new Map<string, OpenLog>();
  private readonly finishing = new Map<string, Promise<void>>();
  /** Container to slot, for logs of an earlier process that were not added yet. */
  private readonly known = new Map<string, number>();
  private retry: NodeJS.Timeout | undefined;

  constructor(parts: PumpParts) {
    this.parts = parts;
    const { journal } = parts;
    for (let slot = 0; slot < MAX_LOGS; slot++) if (journal.isUsed(slot)) this.known.set(journal.owner(slot).containerId, slot);
  }

  async add(streams: readonly OutputStream[]): Promise<void> {
    const containers = Map.groupBy(streams, ({ containerId }) => containerId);
    for (const [containerId, ofContainer] of containers) {
      const log = this.logs.get(containerId) ?? this.openLog(containerId, ofContainer);
      this.logs.set(containerId, log);
      for (const { name, fifoPath } of ofContainer) {
        try {
          log.addStream(name, fifoPath);
        } catch (error) {
          throw new Error(`read ${name} of container ${containerId}`, { cause: error });
        }
      }
    }
  }

  private openLog(containerId: string, streams: readonly OutputStream[]): OpenLog {
    const { logPath } = streams[0]!;
    const slot = this.known.get(containerId);
    this.known.delete(containerId);
    const owner = { containerId, logPath, fifoPaths: streams.map(({ fifoPath }) => fifoPath) };
    const options = { ...this.parts, stalled: () => this.retryLater() };
    if (slot !== undefined) return OpenLog.resume(slot, owner, options);
    const free = this.parts.journal.findFree() ?? this.reclaim();
    if (free === undefined)
      throw new Error(
        `log output of container ${containerId}: ${MAX_LOGS} container logs are open, which is the most; end some containers`,
      );
    return OpenLog.create(free, owner, options);
  }

  /** A slot whose container is gone: not added by this process, and its FIFOs removed. */
  private reclaim(): number | undefined {
    const { journal, logger } = this.parts;
    for (const [containerId, slot] of this.known) {
      if (journal.owner(slot).fifoPaths.some((fifoPath) => fs.existsSync(fifoPath))) continue;
      const { parked, unparked } = journal.record(slot);
      if (parked > unparked)
        logger.warn({ containerId, bytes: parked - unparked }, 'dropped output that its log never took: container is gone');
      journal.release(slot);
      this.known.delete(containerId);
      return slot;
    }
    return undefined;
  }

  finish(containerId: string, options: FinishOptions = {}): Promise<void> {
    const underWay = this.finishing.get(containerId);
    if (underWay !== undefined) return underWay;
    const log = this.logs.get(containerId);
    if (log === undefined) return Promise.resolve();
    const done = log.finish(options).finally(() => {
      this.logs.delete(containerId);
      this.finishing.delete(containerId);
    });
    this.finishing.set(containerId, done);
    return done;
  }

  async reopen(containerId: string): Promise<void> {
    this.openLogOf(containerId).reopen();
  }

  listen(containerId: string, listener: OutputListener): () => void {
    return this.openLogOf(containerId).listen(listener);
  }

  relay(master: number, fifoPath: string): TerminalRelay {
    return new TerminalRelay(this.parts.readiness, master, fifoPath);
  }

  private openLogOf(containerId: string): OpenLog {
    const log = this.logs.get(containerId);
    if (log === undefined) throw new Error(`container ${containerId} has no open log`);
    return log;
  }

  async close(): Promise<void> {
    const { readiness, staging, journal } = this.parts;
    clearTimeout(this.retry);
    for (const log of this.logs.values()) log.close();
    await Promise.allSettled(this.finishing.values());
    let used = false;
    for (let slot = 0; slot < MAX_LOGS && !used; slot++) used = journal.isUsed(slot);
    await staging.close(!used);
    await readiness.close();
    journal.close();
  }

  private retryLater(): void {
    this.retry ??= setTimeout(() => {
      this.retry = undefined;
      const blocked = this.parts.batches.blockedSlot;
      const logs = [...this.logs.values()].filter(({ isStalled }) => isStalled);
      for (const log of logs) if (log.slot === blocked) log.retry();
      if (this.parts.batches.blockedSlot === undefined) for (const log of logs) log.retry();
    }, RETRY_MS);
  }
}
