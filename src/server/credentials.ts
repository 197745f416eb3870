import type { Clock } from '../base/clock.js';
import { WherryError } from '../base/errors.js';
import type { Seal } from '../base/seal.js';
import type { RegistryCredential } from '../domain/registry-credential.js';
import { isRepository } from '../oci/reference.js';
import type { Credentials } from '../registry/credentials.js';

/** Where credentials are kept. */
export interface CredentialRecords {
  get(registry: string): Promise<RegistryCredential | undefined>;
  list(): Promise<readonly RegistryCredential[]>;
  put(registry: string, credential: RegistryCredential): Promise<void>;
  remove(registry: string): Promise<void>;
}

export interface CredentialsOptions {
  readonly records: CredentialRecords;
  readonly seal: Seal;
  readonly clock: Clock;
  /** Logs in at the registry of that host. Throws UNAUTHORIZED, REGISTRY_UNAVAILABLE. */
  readonly logIn: (host: string, credentials: Credentials) => Promise<void>;
}

export interface NewCredential {
  /** `host[:port]`, or with a path. */
  readonly registry: string;
  readonly credentials: Credentials;
  /** Whether the registry is asked first. */
  readonly isTried: boolean;
}

/** Credentials for other registries, sealed at rest; the server's pulls use them. */
export interface StoredCredentials {
  /** Keeps it in place of the one before. Throws REFERENCE_INVALID and, when it is tried, UNAUTHORIZED, DENIED, REGISTRY_UNAVAILABLE. */
  put(wanted: NewCredential): Promise<RegistryCredential>;
  list(): Promise<readonly RegistryCredential[]>;
  /** Throws CREDENTIAL_UNKNOWN. */
  remove(registry: string): Promise<void>;
  /** The ones for a repository: those of the longest path above it, else of its host. Throws SEAL_BROKEN. */
  find(place: { readonly registry: string; readonly repository: string }): Promise<Credentials | undefined>;
}

export function createStoredCredentials({ records, seal, clock, logIn }: CredentialsOptions): StoredCredentials {
  return {
    async put({ registry, credentials, isTried }) {
      const { host } = parsePlace(registry);
      if (isTried) await logIn(host, credentials);
      const [username, secret] =
        'identityToken' in credentials ? [null, credentials.identityToken] : [credentials.username, credentials.password];
      const stored = { registry, username, sealed: seal.close(secret, purposeOf(registry)), createdAt: clock.now() };
      await records.put(registry, stored);
      return stored;
    },
    list: () => records.list(),
    async remove(registry) {
      if (!(await records.get(registry))) {
        throw new WherryError('CREDENTIAL_UNKNOWN', `there are no credentials for '${registry}'`, {
          hint: '`wherry credentials` lists them',
        });
      }
      await records.remove(registry);
    },
    async find({ registry, repository }) {
      for (const place of placesAbove(registry, repository)) {
        const stored = await records.get(place);
        if (!stored) continue;
        const secret = seal.open(stored.sealed, purposeOf(place));
        return stored.username === null ? { identityToken: secret } : { username: stored.username, password: secret };
      }
      return undefined;
    },
  };
}

const purposeOf = (registry: string) => `the credentials for ${registry}`;

/** `host/a/b`, `host/a`, `host` for a repository `a/b`. */
function placesAbove(registry: string, repository: string): readonly string[] {
  const parts = [registry, ...repository.split('/')];
  return parts.map((_, index) => parts.slice(0, parts.length - index).join('/'));
}

function parsePlace(registry: string): { readonly host: string } {
  const [host = '', ...path] = registry.split('/');
  const isHost = host === 'localhost' || /^(?:[A-Za-z0-9-]+\.)*[A-Za-z0-9-]+(?::\d+)?$|^\[[0-9a-f:]+\](?::\d+)?$/.test(host);
  if (isHost && (host === 'localhost' || /[.:]/.test(host)) && (path.length === 0 || isRepository(path.join('/')))) return { host };
  throw new WherryError('REFERENCE_INVALID', `'${registry}' is not a registry`, {
    hint: 'write HOST, HOST:PORT or HOST/PATH, for instance ghcr.io/acme',
  });
}
