// A program of its own: a pump that is killed. argv: run-dir, streams as JSON, after how many steps of batches it kills itself
// (0: never), whether it finishes all containers and ends. Rotates the logs now and then, as a kubelet does.
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../../logger.ts';
import { keeperStarter } from '../keeper.ts';
import { type OutputStream, openLogPump } from '../pump.ts';

const [runDir = '', json = '[]', steps = '0', finish = ''] = process.argv.slice(2);
const streams = JSON.parse(json) as OutputStream[];
const containers = [...new Map(streams.map((stream) => [stream.containerId, stream.logPath]))];
const shout = (fields: object, message: string) => console.error(message, JSON.stringify(fields));
const logger: Logger = { debug: (fields) => console.log(JSON.stringify(fields)), info: () => {}, warn: shout, error: shout };

let left = Number(steps);
const step = () => {
  if (left > 0 && --left === 0) process.kill(process.pid, 'SIGKILL');
};

const pump = await openLogPump({
  runDir,
  logger,
  writeBytes: 50_000,
  fault: step,
  startKeeper: async (stagingFd) => {
    const pid = await keeperStarter({ v1Procs: [] })(stagingFd);
    fs.appendFileSync(path.join(runDir, 'keepers'), `${pid}\n`);
    return pid;
  },
});
await pump.add(streams);
console.log('"pumping"');

async function rotate(containerId: string, logPath: string): Promise<void> {
  const taken = fs.readdirSync(path.dirname(logPath)).length;
  fs.renameSync(logPath, `${logPath}.${String(taken).padStart(5, '0')}`);
  step();
  await pump.reopen(containerId);
  step();
}

if (finish === '') {
  for (;;) {
    await delay(3);
    const [containerId, logPath] = containers[Math.floor(Math.random() * containers.length)]!;
    // About one life in three rotates.
    if (Math.random() < 0.05) await rotate(containerId, logPath);
  }
}
for (const [containerId] of containers) await pump.finish(containerId);
await pump.close();
