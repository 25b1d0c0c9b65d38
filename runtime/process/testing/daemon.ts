// A daemon to be killed: starts a pause process and a container in a rig's directory, prints what a record would hold, and waits.
import fs from 'node:fs';
import { identify } from '../../state/process-identity.ts';
import { Rig } from './rig.ts';

const [, , script = '', stdin = 'null'] = process.argv;
const rig = new Rig();
const pause = await rig.pause();
const { container, dir, recordId } = await rig.start(rig.spec(['sh', '-c', script], { keepsStdin: stdin === 'fifo' }), pause);
const line = { rig: rig.dir, dir, recordId, pausePid: pause.pid, shim: identify(container.shimPid), initPid: container.initPid };
fs.writeSync(1, `${JSON.stringify(line)}\n`);
setInterval(() => {}, 1000);
