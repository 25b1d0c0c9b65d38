// Owns whether somebody serves a unix socket: a file alone says nothing.
import fs from 'node:fs';
import net from 'node:net';
import { CommandError } from '../error.ts';

/** Whether a process accepts connections there. */
export async function listens(socketPath: string): Promise<boolean> {
  if (!fs.existsSync(socketPath)) return false;
  return new Promise((resolve, reject) => {
    const socket = net.connect(socketPath);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EACCES') reject(new CommandError(`${socketPath} may only be used by root: run the command with sudo`));
      else resolve(error.code === 'EAGAIN');
    });
  });
}
