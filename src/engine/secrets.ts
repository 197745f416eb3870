import { toWherryError, WherryError } from '../base/errors.js';
import { formatReleaseName, type Release } from '../domain/release.js';
import { type FilledEnv, fillEnv, type Referring, type Secret, secretsOf } from '../domain/secret.js';
import type { Core } from './core.js';
import { drain } from './drain.js';
import type { SecretFacts } from './engine.js';
import { listUsedReleases } from './kept-releases.js';

const purposeOf = (name: string) => `the name '${name}'`;

/**
 * The environment of a release with its secrets in place: for a worker that starts now, never to be kept.
 * Throws SECRET_UNKNOWN for those that are not stored, SEAL_BROKEN.
 */
export async function openEnv({ store, seal }: Core, endpointId: string, spec: Referring): Promise<FilledEnv> {
  const values = new Map<string, string>();
  const missing: string[] = [];
  for (const name of secretsOf(spec)) {
    const stored = await store.getRecord('secret', name);
    if (stored) values.set(name, seal.open(stored.sealed, purposeOf(name)));
    else missing.push(name);
  }
  if (missing.length === 0) return fillEnv(spec, values);
  const named = missing.map((name) => `'${name}'`).join(', ');
  const are = missing.length > 1 ? `the secrets ${named}, which are` : `the secret ${named}, which is`;
  throw new WherryError('SECRET_UNKNOWN', `'${endpointId}' needs ${are} not stored`, {
    hint: `\`wherry secrets set ${missing[0]}\` stores the value that it reads`,
  });
}

/** Those of a release that got another value after a moment. */
export async function listChanged({ store }: Core, spec: Referring, since: number): Promise<readonly string[]> {
  const stored = await Promise.all(secretsOf(spec).map((name) => store.getRecord('secret', name)));
  return stored.flatMap((secret) => (secret && secret.updatedAt > since ? [secret.name] : []));
}

/**
 * Keeps a value, in place of the one before. Workers with the one before finish what they have and end, frozen ones at once; what
 * waited for the value after failed starts is tried again.
 */
export async function putSecret(core: Core, name: string, value: string): Promise<SecretFacts> {
  const before = await core.store.getRecord('secret', name);
  const secret = before && isSame(core, before, value) ? before : await keep(core, { name, value, before });
  const users = await listUsers(core, name);
  if (secret !== before) for (const release of users) await renewWorkers(core, release, name);
  return factsOf(secret, users);
}

type NewSecret = Pick<Secret, 'name'> & { readonly value: string; readonly before: Secret | undefined };

async function keep({ store, seal, clock }: Core, { name, value, before }: NewSecret): Promise<Secret> {
  const now = clock.now();
  const secret = { name, sealed: seal.close(value, purposeOf(name)), createdAt: before?.createdAt ?? now, updatedAt: now };
  await store.putRecord('secret', name, secret);
  return secret;
}

async function renewWorkers(core: Core, { endpointId, number }: Release, name: string): Promise<void> {
  for (const worker of await core.store.listWorkers(endpointId)) {
    const hasStarted = worker.state !== 'THROTTLED' && worker.state !== 'DRAINING';
    if (worker.release === number && hasStarted) drain(core, worker, { reason: `the secret '${name}' has another value` });
  }
  core.fleet.forgetCrashes(endpointId, number);
  core.wake(endpointId);
}

/** One that cannot be opened any more is another one. */
function isSame({ seal }: Core, { name, sealed }: Secret, value: string): boolean {
  try {
    return seal.open(sealed, purposeOf(name)) === value;
  } catch (thrown) {
    if (toWherryError(thrown).code === 'SEAL_BROKEN') return false;
    throw thrown;
  }
}

/** By name. */
export async function listSecrets(core: Core): Promise<readonly SecretFacts[]> {
  const releases = await listUsedReleases(core.store);
  const stored = await core.store.listRecords('secret');
  return stored.map(({ value }) => factsOf(value, usersOf(releases, value.name)));
}

/** Throws SECRET_UNKNOWN, and SECRET_IN_USE while a release in use refers to it, unless that `isForced`. */
export async function removeSecret(core: Core, name: string, isForced: boolean): Promise<void> {
  if (!(await core.store.getRecord('secret', name)))
    throw new WherryError('SECRET_UNKNOWN', `there is no secret '${name}'`, { hint: '`wherry secrets` lists them' });
  const users = await listUsers(core, name);
  if (users.length > 0 && !isForced)
    throw new WherryError('SECRET_IN_USE', `the secret '${name}' is needed by ${users.map(formatReleaseName).join(', ')}`, {
      hint: 'deploy without it first; with --force it goes, and workers that need it do not start any more',
    });
  await core.store.removeRecord('secret', name);
}

const usersOf = (releases: readonly Release[], name: string) => releases.filter(({ spec }) => secretsOf(spec).includes(name));

async function listUsers({ store }: Core, name: string): Promise<readonly Release[]> {
  return usersOf(await listUsedReleases(store), name);
}

function factsOf({ name, createdAt, updatedAt }: Secret, users: readonly Release[]): SecretFacts {
  return { name, createdAt, updatedAt, usedBy: users.map(formatReleaseName) };
}
