// Loaded into the measured daemon by `node --import`: counts how late its event loop is. SIGUSR2 writes what was seen since the last one
// to the file that TSK_BENCH_LOOP names.
import fs from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { isMainThread } from 'node:worker_threads';

export interface LoopDelay {
  readonly samples: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
  /** Of the longest turn, by the time that the thread was on a processor: what is not of it is others' work on this machine. */
  readonly maxCpu: number;
}

const RESOLUTION_MS = 1;
const file = process.env.TSK_BENCH_LOOP;

if (isMainThread && file !== undefined) {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  // A sample is the time between two ticks of a timer of one millisecond: what is above that is delay.
  const late = (ns: number) => Math.max(0, ns / 1e6 - RESOLUTION_MS);
  let cpu = process.threadCpuUsage();
  let maxCpu = 0;
  setInterval(() => {
    const now = process.threadCpuUsage();
    maxCpu = Math.max(maxCpu, (now.user - cpu.user + now.system - cpu.system) / 1000);
    cpu = now;
  }, RESOLUTION_MS).unref();
  process.on('SIGUSR2', () => {
    const delay: LoopDelay = {
      samples: histogram.count,
      p50: late(histogram.percentile(50)),
      p90: late(histogram.percentile(90)),
      p99: late(histogram.percentile(99)),
      max: late(histogram.max),
      maxCpu,
    };
    histogram.reset();
    maxCpu = 0;
    fs.writeFileSync(`${file}.new`, JSON.stringify(delay));
    fs.renameSync(`${file}.new`, file);
  });
}
