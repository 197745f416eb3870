import type { Clock } from '../base/clock.js';
import { WherryError } from '../base/errors.js';
import { createUuid } from '../base/ids.js';
import type { Seal } from '../base/seal.js';
import { createTurns } from '../base/turns.js';
import type { NamedCredential } from '../domain/registry-credential.js';
import type { Records } from '../engine/templates.js';
import type { Credentials } from '../registry/credentials.js';

/** What opens a registry, in the clear. */
export interface Login {
  readonly username: string;
  readonly password: string;
}

/** Credentials that a template names by their id; sealed at rest. */
export interface NamedCredentials {
  /** Throws NAME_TAKEN. */
  add(name: string, login: Login): Promise<NamedCredential>;
  /** Throws CREDENTIAL_UNKNOWN. */
  change(id: string, login: Login): Promise<NamedCredential>;
  list(): Promise<readonly NamedCredential[]>;
  /** Throws CREDENTIAL_UNKNOWN. */
  remove(id: string): Promise<void>;
  /** Undefined when there is none of that id. Throws SEAL_BROKEN. */
  open(id: string): Promise<Credentials | undefined>;
}

export interface NamedCredentialsOptions {
  readonly records: Records<NamedCredential>;
  readonly seal: Seal;
  readonly clock: Clock;
}

const purposeOf = (id: string) => `the named credential ${id}`;

export function createNamedCredentials({ records, seal, clock }: NamedCredentialsOptions): NamedCredentials {
  const inTurn = createTurns();
  const require = async (id: string): Promise<NamedCredential> => {
    const found = await records.get(id);
    if (found) return found;
    throw new WherryError('CREDENTIAL_UNKNOWN', `there is no registry credential '${id}'`, { hint: 'save it first' });
  };
  const put = async (about: Pick<NamedCredential, 'id' | 'name' | 'createdAt'>, { username, password }: Login) => {
    const stored: NamedCredential = { ...about, username, sealed: seal.close(password, purposeOf(about.id)) };
    await records.put(stored.id, stored);
    return stored;
  };
  return {
    add: (name, login) =>
      inTurn('', async () => {
        if ((await records.list()).some((other) => other.name === name)) {
          throw new WherryError('NAME_TAKEN', `there is a registry credential '${name}' already`, {
            hint: 'choose another name, or change that one by its id',
          });
        }
        const now = clock.now();
        return put({ id: createUuid(now), name, createdAt: now }, login);
      }),
    change: (id, login) => inTurn('', async () => put(await require(id), login)),
    list: () => records.list(),
    remove: (id) =>
      inTurn('', async () => {
        await require(id);
        await records.remove(id);
      }),
    async open(id) {
      const found = await records.get(id);
      return found && { username: found.username, password: seal.open(found.sealed, purposeOf(id)) };
    },
  };
}
