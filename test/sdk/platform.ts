import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** One request of a worker, as it arrived. */
export interface Asked {
  readonly verb: string;
  readonly jobId: string;
  readonly query: URLSearchParams;
  readonly body: unknown;
}

/** The platform's side of the worker protocol (worker-protocol §4–§11), scripted by a test. */
export interface Platform {
  readonly base: string;
  readonly asked: Asked[];
  /** Waiting jobs; a take that finds none is held. */
  readonly jobs: object[];
  /** Ids for the next answer of job-stop. */
  readonly stops: string[];
  /** Verbs of the polls that the worker closed before they were answered. */
  readonly dropped: string[];
  /** A status other than 200 for the next request that fits, and how long to wait before any answer. */
  decide: (asked: Asked) => { readonly status?: number; readonly delayMs?: number } | undefined;
  close(): Promise<void>;
}

/** Opens it on a free port; nothing in it knows an SDK. */
export async function openPlatform(): Promise<Platform> {
  const server = createServer((request, response) => void answer(platform, request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const platform: Platform = {
    base: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v2/e`,
    asked: [],
    jobs: [],
    stops: [],
    dropped: [],
    decide: () => undefined,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return platform;
}

async function answer(platform: Platform, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  const url = new URL(request.url ?? '', platform.base);
  const [, , , verb = '', , jobId = ''] = url.pathname.split('/');
  const text = Buffer.concat(parts).toString();
  const asked = { verb, jobId, query: url.searchParams, body: text === '' ? undefined : (JSON.parse(text) as unknown) };
  platform.asked.push(asked);
  const { status = 200, delayMs = 0 } = platform.decide(asked) ?? {};
  response.on('close', () => {
    if (!response.writableEnded) platform.dropped.push(verb);
  });
  if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
  if (status !== 200) response.writeHead(status).end();
  else if (verb.startsWith('job-take')) hold(response, () => takeFrom(platform, asked));
  else if (verb === 'job-stop') hold(response, () => stopFrom(platform));
  else response.end('{}');
}

/** Answers as soon as there is something, and 204 after a time that no worker may wait for when it ends. */
function hold(response: ServerResponse, find: () => unknown): void {
  const end = performance.now() + 25_000;
  const look = () => {
    if (response.destroyed) return clearInterval(timer);
    const found = find();
    if (found === undefined && performance.now() < end) return;
    clearInterval(timer);
    if (found === undefined) response.writeHead(204).end();
    else response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(found));
  };
  const timer = setInterval(look, 10);
}

function takeFrom({ jobs }: Platform, { verb, query }: Asked): unknown {
  if (jobs.length === 0) return undefined;
  return verb === 'job-take' ? jobs.shift() : jobs.splice(0, Number(query.get('batch_size')));
}

function stopFrom({ stops }: Platform): unknown {
  return stops.length > 0 ? { jobsToStop: stops.splice(0) } : undefined;
}
