import * as schema from '../../../api/schema.js';
import type { DeliveryState } from '../../../domain/delivery.js';
import { viewDelivery, viewWebhookSecret } from '../../views.js';
import type { ApiContext, ApiServer } from './context.js';

const OVERLAP_MS = 86_400_000;

/** How an endpoint's webhooks are signed, and the log of their deliveries. */
export function addWebhookRoutes(server: ApiServer, context: ApiContext): void {
  addSigningRoutes(server, context);
  addDeliveryRoutes(server, context);
}

function addSigningRoutes(server: ApiServer, { engine }: ApiContext): void {
  const params = schema.EndpointPath;
  server.get(
    '/endpoints/:id/webhook',
    { schema: { summary: 'How webhooks are signed and tried again', params, response: { 200: schema.Webhook } } },
    async ({ params: { id } }) => {
      const { limits } = (await engine.getEndpoint(id)).settings;
      return { retryMs: limits.webhookRetryMs ?? 0, secrets: (await engine.listWebhookSecrets(id)).map(viewWebhookSecret) };
    },
  );
  server.post(
    '/endpoints/:id/webhook/secret',
    {
      schema: {
        summary: 'Make the secret that signs webhooks, or rotate it',
        params,
        body: schema.NewSecret,
        response: { 201: schema.MadeSecret },
      },
    },
    async ({ params: { id }, body: { rotate = false, overlapMs = OVERLAP_MS } }, reply) => {
      const made = await engine.makeWebhookSecret(id, { isRotation: rotate, overlapMs });
      return reply.code(201).send({ ...viewWebhookSecret(made), secret: made.secret });
    },
  );
  server.delete(
    '/endpoints/:id/webhook/secret',
    { schema: { summary: 'Sign webhooks no more', params } },
    async ({ params: { id } }, reply) => {
      await engine.removeWebhookSecrets(id);
      return reply.code(204).send();
    },
  );
}

function addDeliveryRoutes(server: ApiServer, { engine }: ApiContext): void {
  const params = schema.EndpointPath;
  server.get(
    '/endpoints/:id/deliveries',
    {
      schema: {
        summary: 'List deliveries of webhooks, newest first',
        params,
        querystring: schema.DeliveryQuery,
        response: { 200: schema.listOf(schema.Delivery) },
      },
    },
    async ({ params: { id }, query: { state, job, limit = 100 } }) => {
      const filter = { ...(state !== undefined && { state: state as DeliveryState }), ...(job !== undefined && { jobId: job }) };
      return { items: (await engine.listDeliveries({ endpointId: id, limit, ...filter })).map(viewDelivery) };
    },
  );
  server.get(
    '/endpoints/:id/deliveries/:delivery',
    { schema: { summary: 'Read a delivery with its body', params: schema.DeliveryPath, response: { 200: schema.WholeDelivery } } },
    async ({ params }) => {
      const { delivery, body } = await engine.getDelivery({ endpointId: params.id, deliveryId: params.delivery });
      return { ...viewDelivery(delivery), body };
    },
  );
  server.post(
    '/endpoints/:id/deliveries/:delivery/redeliver',
    {
      schema: {
        summary: 'Send a delivery again, with the same id and body',
        params: schema.DeliveryPath,
        response: { 202: schema.Delivery },
      },
    },
    async ({ params }, reply) => {
      const again = await engine.redeliver({ endpointId: params.id, deliveryId: params.delivery });
      return reply.code(202).send(viewDelivery(again));
    },
  );
}
