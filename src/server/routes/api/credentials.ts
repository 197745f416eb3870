import * as schema from '../../../api/schema.js';
import { WherryError } from '../../../base/errors.js';
import type { Credentials } from '../../../registry/credentials.js';
import { viewCredential } from '../../views.js';
import type { ApiContext, ApiServer } from './context.js';

/** Credentials for other registries. Secrets come in and never go out. */
export function addCredentialRoutes(server: ApiServer, { credentials }: ApiContext): void {
  const params = schema.CredentialPath;
  server.get(
    '/credentials',
    { schema: { summary: 'List credentials for registries', response: { 200: schema.listOf(schema.Credential) } } },
    async () => ({ items: (await credentials.list()).map(viewCredential) }),
  );
  server.put(
    '/credentials/:registry',
    {
      schema: {
        summary: 'Keep credentials for a registry, or a part of it, in place of those before',
        params,
        body: schema.NewCredential,
        response: { 200: schema.Credential },
      },
    },
    async ({ params: { registry }, body }) =>
      viewCredential(await credentials.put({ registry, credentials: readSecret(body), isTried: body.try ?? true })),
  );
  server.delete(
    '/credentials/:registry',
    { schema: { summary: 'Remove credentials', params } },
    async ({ params: { registry } }, reply) => {
      await credentials.remove(registry);
      return reply.code(204).send();
    },
  );
}

function readSecret({ username, password, identityToken }: schema.NewCredentialBody): Credentials {
  if (identityToken !== undefined && username === undefined && password === undefined) return { identityToken };
  if (username !== undefined && password !== undefined && identityToken === undefined) return { username, password };
  throw new WherryError('REQUEST_INVALID', 'credentials are username and password, or identityToken alone', {
    hint: 'send one of the two forms',
  });
}
