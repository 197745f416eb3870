import { readNumber } from '../../../api/foreign-input.js';
import type { NamedCredential } from '../../../domain/registry-credential.js';
import type { Login } from '../../named-credentials.js';
import { changing, type Door, requireText } from './context.js';

/** Operations on credentials for registries. Secrets come in and never go out. */
export function createRegistryAuthOperations({ namedCredentials }: Door) {
  return {
    saveRegistryAuth: changing<{ input: Login & { name: string } }>(async ({ input: { name, ...login } }) => {
      readNumber(name.length, { name: 'the length of the name', min: 1, max: 191 });
      return viewRegistryAuth(await namedCredentials.add(name, readLogin(login)));
    }),
    updateRegistryAuth: changing<{ input: Login & { id: string } }>(async ({ input: { id, ...login } }) =>
      viewRegistryAuth(await namedCredentials.change(id, readLogin(login))),
    ),
    deleteRegistryAuth: changing<{ registryAuthId?: string | null }>(async ({ registryAuthId }) => {
      await namedCredentials.remove(requireText(registryAuthId, 'registryAuthId'));
      return null;
    }),
  };
}

function readLogin({ username, password }: Login): Login {
  return { username: requireText(username, 'username'), password: requireText(password, 'password') };
}

/** `RegistryAuth`. */
export function viewRegistryAuth({ id, name, username }: NamedCredential) {
  return { id, name, username };
}
