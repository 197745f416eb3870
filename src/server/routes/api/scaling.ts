import type { DecisionView } from '../../../api/scaling.js';
import * as scalingSchema from '../../../api/scaling-schema.js';
import * as schema from '../../../api/schema.js';
import type { ScaleRecord } from '../../../domain/scale-record.js';
import { readMoment } from '../../moment.js';
import type { ApiContext, ApiServer } from './context.js';

/** What the scaler decided, and why. */
export function addScalingRoutes(server: ApiServer, { engine }: ApiContext): void {
  server.get(
    '/endpoints/:id/decisions',
    {
      schema: {
        summary: 'List decisions of the scaler with their inputs, newest first',
        params: schema.EndpointPath,
        querystring: scalingSchema.DecisionQuery,
        response: { 200: schema.listOf(scalingSchema.Decision) },
      },
    },
    async ({ params: { id }, query: { since, limit = 100 } }) => {
      const from = since === undefined ? {} : { since: readMoment('since', since) };
      return { items: (await engine.listDecisions({ endpointId: id, limit, ...from })).map(viewDecision) };
    },
  );
}

function viewDecision({ at, sample, ...rest }: ScaleRecord): DecisionView {
  const { oldestQueuedAt, workedAt: _workedAt, requestedAt: _requestedAt, ...counts } = sample;
  const oldestWaitMs = oldestQueuedAt === null ? null : Math.max(0, at - oldestQueuedAt);
  return { at: new Date(at).toISOString(), ...rest, sample: { ...counts, oldestWaitMs } };
}
