import { createServer, type IncomingHttpHeaders, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Received {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface Receiver {
  readonly url: string;
  readonly port: number;
  readonly received: readonly Received[];
  /** Those whose body is of that job. */
  of(jobId: string): readonly Received[];
  close(): Promise<void>;
}

/** A real HTTP server that takes webhooks; `answer` decides each one by its number at that path, from 0; 200 when absent. */
export async function openReceiver(
  answer: (path: string, number: number) => number | RequestListener | Promise<number> = () => 200,
  listen: { readonly host?: string; readonly port?: number } = {},
): Promise<Receiver> {
  const received: Received[] = [];
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', async () => {
      const path = request.url ?? '';
      const number = received.filter((other) => other.path === path).length;
      received.push({ at: Date.now(), path, headers: request.headers, body: Buffer.concat(parts).toString('utf8') });
      const decided = await answer(path, number);
      if (typeof decided === 'number') response.writeHead(decided).end('thanks');
      else decided(request, response);
    });
  });
  const { host = '127.0.0.1', port = 0 } = listen;
  await new Promise<void>((resolve) => server.listen(port, host, resolve));
  const bound = (server.address() as AddressInfo).port;
  return {
    url: `http://${host}:${bound}`,
    port: bound,
    received,
    of: (jobId) => received.filter(({ body }) => (JSON.parse(body) as { id: string }).id === jobId),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
