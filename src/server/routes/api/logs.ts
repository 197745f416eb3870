import { once } from 'node:events';
import type { FastifyReply } from 'fastify';
import * as schema from '../../../api/schema.js';
import type { LogFilter, LogLine } from '../../../engine/engine.js';
import { viewLogLine } from '../../views.js';
import type { ApiContext, ApiServer } from './context.js';

const HEARTBEAT_MS = 15_000;

/** Logs of an endpoint: a list, or server-sent events that go on from the last id. */
export function addLogRoutes(server: ApiServer, { engine, signalOf }: ApiContext): void {
  server.get(
    '/endpoints/:id/logs',
    {
      schema: {
        summary: 'Read logs, or follow them as server-sent events',
        params: schema.EndpointPath,
        querystring: schema.LogQuery,
        response: { 200: schema.listOf(schema.LogLine) },
      },
    },
    async (request, reply) => {
      const { worker, job, release, limit = 100, follow = false, after } = request.query;
      const filter: LogFilter = {
        endpointId: request.params.id,
        limit,
        ...(worker !== undefined && { workerId: worker }),
        ...(job !== undefined && { jobId: job }),
        ...(release !== undefined && { release }),
      };
      if (!follow) return { items: (await engine.readLogs(filter)).map(viewLogLine) };
      await engine.getEndpoint(filter.endpointId);
      const lastId = request.headers['last-event-id'];
      const afterId = typeof lastId === 'string' ? lastId : after;
      const signal = signalOf(request);
      reply.hijack();
      await stream(reply, engine.followLogs({ ...filter, ...(afterId !== undefined && { afterId }) }, signal), signal);
      return reply;
    },
  );
}

async function stream({ raw }: FastifyReply, lines: AsyncIterable<LogLine>, signal: AbortSignal): Promise<void> {
  raw.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' });
  raw.write(': open\n\n');
  const heartbeat = setInterval(() => raw.write(': still here\n\n'), HEARTBEAT_MS);
  try {
    for await (const line of lines) {
      const isFull = !raw.write(`${line.id === '' ? '' : `id: ${line.id}\n`}data: ${JSON.stringify(viewLogLine(line))}\n\n`);
      if (isFull && !signal.aborted) await once(raw, 'drain', { signal }).catch(() => {});
    }
  } finally {
    clearInterval(heartbeat);
    raw.end();
  }
}
