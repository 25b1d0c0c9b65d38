// attach|detach <state directory> <pid of the pod> <n>: does it, prints each fault point, and ends itself by SIGKILL at the n-th.
import fs from 'node:fs';
import { open } from './network.ts';

const [verb, stateDir, pid, at] = process.argv.slice(2);
if (stateDir === undefined || pid === undefined) throw new Error('usage: crash.ts attach|detach DIRECTORY PID N');

let passed = 0;
const { network } = await open({
  stateDir,
  faultPoint: (name) => {
    fs.writeSync(1, `${name}\n`);
    if (passed++ === Number(at)) process.kill(process.pid, 'SIGKILL');
  },
});
const netnsPath = `/proc/${pid}/ns/net`;
if (verb === 'detach') await network.detach('pod');
else
  await network.attach({
    sandboxId: 'pod',
    netnsFd: fs.openSync(netnsPath, 'r'),
    netnsPath,
    portMappings: [{ protocol: 'tcp', hostPort: 8080, containerPort: 80 }],
    namespace: 'default',
    name: 'pod',
  });
process.exit(0);
