import { once } from 'node:events';
import type { FastifyReply } from 'fastify';
import * as schema from '../../../api/schema.js';
import type { LogFilter, LogLine } from '../../../engine/log-line.js';
import { compilePattern } from '../../log-pattern.js';
import { readMoment } from '../../moment.js';
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
      const { follow = false, after } = request.query;
      const filter = await readFilter(request.params.id, request.query);
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

async function readFilter(endpointId: string, query: schema.LogQueryText): Promise<LogFilter> {
  const { worker, job, release, source, since, until, grep, limit = 100 } = query;
  return {
    endpointId,
    limit,
    ...(worker !== undefined && { workerId: worker }),
    ...(job !== undefined && { jobId: job }),
    ...(release !== undefined && { release }),
    ...(source !== undefined && { source: source as LogLine['source'] }),
    ...(since !== undefined && { since: readMoment('since', since) }),
    ...(until !== undefined && { until: readMoment('until', until) }),
    ...(grep !== undefined && { isMatch: await compilePattern(grep) }),
  };
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
