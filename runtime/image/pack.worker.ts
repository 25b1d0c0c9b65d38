// The worker thread that packs one layer: compressing and hashing never hold the event loop.
import os from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { type PackJob, runPackJob } from './pack-job.ts';

os.setPriority(10);
parentPort?.postMessage(await runPackJob(workerData as PackJob));
