import { listOf } from '../../../api/schema.js';
import * as schema from '../../../api/schema-secrets.js';
import { viewSecret } from '../../views.js';
import type { ApiContext, ApiServer } from './context.js';

/** Values that releases refer to by name. They come in and never go out. */
export function addSecretRoutes(server: ApiServer, { engine }: ApiContext): void {
  const params = schema.SecretPath;
  server.get('/secrets', { schema: { summary: 'List secrets, without values', response: { 200: listOf(schema.Secret) } } }, async () => ({
    items: (await engine.listSecrets()).map(viewSecret),
  }));
  server.put(
    '/secrets/:name',
    {
      schema: {
        summary: 'Store a secret, or give it another value: workers with the one before finish their jobs and end',
        params,
        body: schema.SecretValue,
        response: { 200: schema.Secret },
      },
    },
    async ({ params: { name }, body: { value } }) => viewSecret(await engine.putSecret(name, value)),
  );
  server.delete(
    '/secrets/:name',
    { schema: { summary: 'Remove a secret that no release in use refers to', params, querystring: schema.SecretRemoval } },
    async ({ params: { name }, query: { force = false } }, reply) => {
      await engine.removeSecret(name, force);
      return reply.code(204).send();
    },
  );
}
