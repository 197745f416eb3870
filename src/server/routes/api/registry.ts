import { once } from 'node:events';
import * as schema from '../../../api/schema.js';
import { toWherryError } from '../../../base/errors.js';
import type { ApiContext, ApiServer } from './context.js';

/** The care of the embedded registry. */
export function addRegistryRoutes(server: ApiServer, { upkeep, signalOf, log }: ApiContext): void {
  server.get(
    '/registry',
    { schema: { summary: 'What the embedded registry holds, with sizes', response: { 200: schema.RegistryState } } },
    async () => {
      const state = await upkeep.measure();
      return { ...state, repositories: state.repositories.map((figures) => ({ ...figures, tags: [...figures.tags] })) };
    },
  );
  server.post(
    '/registry/collect',
    {
      schema: {
        summary: 'Remove what no tag, release or push under way needs',
        body: schema.CollectOrder,
        response: { 200: schema.Collected },
      },
    },
    async ({ body: { dryRun = false } }) => {
      const collected = await upkeep.collect({ isDryRun: dryRun });
      const repositories = collected.repositories.map((one) => ({ ...one, tags: [...one.tags], manifests: [...one.manifests] }));
      return { ...collected, repositories, skipped: [...collected.skipped] };
    },
  );
  server.post(
    '/registry/verify',
    {
      schema: {
        summary: 'Hash every blob again and follow every name; one JSON text a line: progress, faults, the end',
        body: schema.VerifyOrder,
        produces: ['application/x-ndjson'],
      },
    },
    async (request, reply) => {
      const signal = signalOf(request);
      const events = upkeep.verifyAll({ isRepairing: request.body.repair ?? false, signal });
      reply.hijack();
      const { raw } = reply;
      raw.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store', 'x-accel-buffering': 'no' });
      try {
        for await (const event of events) {
          if (!raw.write(`${JSON.stringify(event)}\n`)) await once(raw, 'drain', { signal });
        }
      } catch (thrown) {
        // The head is sent: the reason is the last line, unless nobody listens any more.
        if (!signal.aborted) {
          log.error({ err: thrown }, 'the registry could not be verified');
          raw.write(`${JSON.stringify({ kind: 'error', message: toWherryError(thrown).message })}\n`);
        }
      } finally {
        raw.end();
      }
      return reply;
    },
  );
}
