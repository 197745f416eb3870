import * as schema from '../../../api/schema.js';
import { WherryError } from '../../../base/errors.js';
import type { KeyScope } from '../../../domain/key.js';
import { viewKey } from '../../views.js';
import type { ApiContext, ApiServer } from './context.js';

/** API keys, and the state of the whole server. */
export function addKeyRoutes(server: ApiServer, { engine, keys }: ApiContext): void {
  server.get('/keys', { schema: { summary: 'List keys', response: { 200: schema.listOf(schema.Key) } } }, async () => ({
    items: (await keys.list()).map(viewKey),
  }));
  server.post(
    '/keys',
    { schema: { summary: 'Make a key', body: schema.NewKey, response: { 201: schema.MadeKey } } },
    async ({ body }, reply) => {
      const { name, endpointId = null } = body;
      const scope = body.scope as KeyScope;
      if ((scope === 'endpoint') !== (endpointId !== null)) {
        throw new WherryError(
          'REQUEST_INVALID',
          `a key of scope '${scope}' ${scope === 'endpoint' ? 'needs' : 'may not have'} an endpointId`,
          {
            hint: 'use scope endpoint with endpointId, or scope admin or read-only without',
          },
        );
      }
      if (endpointId !== null) await engine.getEndpoint(endpointId);
      const { key, text } = await keys.create({ name, scope, endpointId });
      return reply.code(201).send({ ...viewKey(key), key: text });
    },
  );
  server.patch(
    '/keys/:id',
    { schema: { summary: 'Enable or disable a key', params: schema.EndpointPath, body: schema.KeyChange, response: { 200: schema.Key } } },
    async ({ params: { id }, body: { isEnabled } }) => viewKey(await keys.setEnabled(id, isEnabled)),
  );
  server.delete('/keys/:id', { schema: { summary: 'Remove a key', params: schema.EndpointPath } }, async ({ params: { id } }, reply) => {
    await keys.remove(id);
    return reply.code(204).send();
  });
}
