// A listening unix socket that is private from its first instant, replaces a dead predecessor's and refuses a live one's.
import fs from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { hasCode } from '../linux/errno.ts';

export interface ListeningSocket {
  /** Stops accepting and removes the socket's file unless a successor has replaced it. Open connections stay. */
  close(): Promise<void>;
  /** Ends every connection that is still open. */
  cut(): void;
}

// sun_path of unix(7) with its terminating zero.
const SUN_PATH_BYTES = 108;

/** mode: 0o600 for root alone, 0o660 for its group too. */
export async function listenOn(socketPath: string, mode: number, accept: (connection: net.Socket) => void): Promise<ListeningSocket> {
  const directory = path.join(path.dirname(socketPath), `.${path.basename(socketPath)}`);
  const fresh = path.join(directory, 's');
  if (Buffer.byteLength(fresh) >= SUN_PATH_BYTES) {
    throw new Error(`socket path ${socketPath} is too long: the kernel allows ${SUN_PATH_BYTES - 4} bytes; choose a shorter run-dir`);
  }
  await fs.mkdir(path.dirname(socketPath), { recursive: true, mode: 0o755 });
  if (await answers(socketPath))
    throw new Error(`listen on ${socketPath}: another process serves this socket; stop it or choose another run-dir`);
  // listen(2) makes the file with the umask's mode, chmod comes after: behind a private directory nobody can connect in between.
  await fs.rm(directory, { recursive: true, force: true });
  await fs.mkdir(directory, { mode: 0o700 });
  const connections = new Set<net.Socket>();
  const server = net.createServer((connection) => {
    connections.add(connection);
    connection.once('close', () => connections.delete(connection));
    accept(connection);
  });
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(fresh, resolve);
    });
    await fs.chmod(fresh, mode);
    await fs.rename(fresh, socketPath);
    const { ino } = await fs.lstat(socketPath);
    return {
      close: () => closeListener(server, socketPath, ino),
      cut: () => {
        for (const connection of connections) connection.destroy();
      },
    };
  } catch (error) {
    server.close();
    throw new Error(`listen on ${socketPath}`, { cause: error });
  } finally {
    await fs.rm(directory, { recursive: true, force: true });
  }
}

async function closeListener(server: net.Server, socketPath: string, ino: number): Promise<void> {
  // Not awaited: the callback comes only when the last connection has ended.
  server.close();
  const now = await fs.lstat(socketPath).catch(() => undefined);
  if (now?.ino === ino) await fs.rm(socketPath, { force: true });
}

/** True when a process listens; a file that nobody listens on is left to be replaced, one that is no socket is refused. */
async function answers(socketPath: string): Promise<boolean> {
  const found = await fs.lstat(socketPath).catch(() => undefined);
  if (!found) return false;
  if (!found.isSocket())
    throw new Error(`listen on ${socketPath}: the file is there and is no socket; remove it or choose another run-dir`);
  const socket = net.connect(socketPath);
  try {
    return await new Promise<boolean>((resolve, reject) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', (error) => {
        // EAGAIN: its queue of connections is full, so there is somebody.
        if (hasCode(error, 'EAGAIN')) resolve(true);
        else if (hasCode(error, 'ECONNREFUSED', 'ENOENT')) resolve(false);
        else reject(error);
      });
    });
  } finally {
    socket.destroy();
  }
}
