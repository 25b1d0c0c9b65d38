// The contract of the log pump: container output from FIFOs into CRI-format log files, without losing or doubling a line.

export interface OutputStream {
  readonly containerId: string;
  readonly name: 'stdout' | 'stderr';
  readonly fifoPath: string;
  readonly logPath: string;
}

export interface LogPump {
  /** Starts pumping (or goes on after a daemon restart). The FIFO's write side is held open by the container's shim. */
  add(streams: readonly OutputStream[]): Promise<void>;
  /** After init ended: drains to EOF (or 2 s when strangers hold the pipe), flushes an unfinished last line, closes. */
  finish(containerId: string): Promise<void>;
  /** CRI ReopenContainerLog: opens a new file at the same path; an error leaves the old one in use. */
  reopen(containerId: string): Promise<void>;
  close(): Promise<void>;
}
