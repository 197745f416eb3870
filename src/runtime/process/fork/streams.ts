import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';

/** Where forked processes connect what they will write to: descriptors cannot be handed to them. */
export interface ForkStreams {
  readonly path: string;
  /** A connection to come: who opens it says the token first. It never errors; it may close. */
  expect(): { readonly token: string; readonly socket: Promise<Socket>; forget(): void };
  close(): void;
}

/** Listens at `path`, which is replaced. Rejects with what the system says. */
export async function openForkStreams(path: string): Promise<ForkStreams> {
  const expected = new Map<string, (socket: Socket) => void>();
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    readToken(socket, (token) => {
      const take = expected.get(token);
      expected.delete(token);
      if (take === undefined) socket.destroy();
      else take(socket);
    });
  });
  rmSync(path, { force: true });
  server.listen(path);
  await once(server, 'listening');
  return {
    path,
    expect() {
      const token = randomUUID();
      const socket = new Promise<Socket>((resolve) => expected.set(token, resolve));
      return { token, socket, forget: () => expected.delete(token) };
    },
    close: () => server.close(),
  };
}

/** Reads the first line and leaves the rest in the socket, unread. */
function readToken(socket: Socket, onToken: (token: string) => void): void {
  let head = Buffer.alloc(0);
  const read = (): void => {
    for (let part: Buffer | null = socket.read(); part !== null; part = socket.read()) {
      head = Buffer.concat([head, part]);
      const end = head.indexOf(10);
      if (end === -1) continue;
      socket.off('readable', read);
      socket.unshift(head.subarray(end + 1));
      onToken(head.toString('latin1', 0, end));
      return;
    }
  };
  socket.on('readable', read);
}
