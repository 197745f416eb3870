import type { ApiClient } from '../../api/client.js';
import { WherryError } from '../../base/errors.js';
import type { Environment } from '../../compose-settings.js';
import { type Referring, secretsOf } from '../../domain/secret.js';

interface Session {
  readonly client: ApiClient;
  readonly environment: Environment;
  readonly dataDir: string;
}

/** Brings the secrets that a project refers to out of the command's environment to the session's server. Throws SECRET_UNKNOWN for one that neither has. */
export async function bringSecrets(project: Referring, { client, environment, dataDir }: Session): Promise<void> {
  const names = secretsOf(project);
  if (names.length === 0) return;
  const stored = new Set((await client.listSecrets()).map(({ name }) => name));
  for (const name of names) {
    const value = environment[name];
    if (value) await client.putSecret(name, { value });
    else if (!stored.has(name)) {
      throw new WherryError('SECRET_UNKNOWN', `the secret '${name}' is neither in the environment of this command nor stored`, {
        hint: `\`wherry secrets set ${name} --data '${dataDir}'\` stores it for this project`,
      });
    }
  }
}
