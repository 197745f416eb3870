import { WherryError } from '../base/errors.js';
import { createSecret } from '../base/ids.js';
import type { WebhookSecret } from '../store/store.js';
import type { Core } from './core.js';
import type { SecretRotation, WebhookSecretFacts } from './engine.js';
import { requireEndpoint } from './jobs.js';

/** So many sign at once: each costs a signature in the header. */
const SECRETS_KEPT = 3;
const purposeOf = (endpointId: string) => `the webhooks of endpoint ${endpointId}`;

/** Makes a secret, shown only here. Throws ENDPOINT_UNKNOWN, and SECRET_EXISTS when there is one and this is no rotation. */
export async function makeSigningSecret(
  core: Core,
  endpointId: string,
  { isRotation, overlapMs }: SecretRotation,
): Promise<WebhookSecretFacts & { readonly secret: string }> {
  const now = core.clock.now();
  const before = await listSigningSecrets(core, endpointId);
  if (before.length > 0 && !isRotation) {
    throw new WherryError('SECRET_EXISTS', `endpoint '${endpointId}' signs its webhooks already`, {
      hint: `\`wherry webhooks secret ${endpointId} --rotate\` makes a new one`,
    });
  }
  const secret = `whsec_${createSecret(32)}`;
  const made: WebhookSecret = { sealed: core.seal.close(secret, purposeOf(endpointId)), createdAt: now, expiresAt: null };
  const until = now + overlapMs;
  const kept = before
    .map((old) => ({ ...old, expiresAt: Math.min(old.expiresAt ?? until, until) }))
    .filter(({ expiresAt }) => expiresAt > now)
    .slice(0, SECRETS_KEPT - 1);
  await core.store.putRecord('webhook-secrets', endpointId, { secrets: [made, ...kept] });
  return { secret, createdAt: now, expiresAt: null };
}

/** The secrets that sign now, newest first. Throws ENDPOINT_UNKNOWN. */
export async function listSigningSecrets(core: Core, endpointId: string): Promise<readonly WebhookSecret[]> {
  await requireEndpoint(core, endpointId);
  const { secrets = [] } = (await core.store.getRecord('webhook-secrets', endpointId)) ?? {};
  return secrets.filter(({ expiresAt }) => expiresAt === null || expiresAt > core.clock.now());
}

/** Deliveries are not signed any more. Throws ENDPOINT_UNKNOWN. */
export async function removeSigningSecrets(core: Core, endpointId: string): Promise<void> {
  await requireEndpoint(core, endpointId);
  await core.store.removeRecord('webhook-secrets', endpointId);
}

/** The secrets themselves, for signing. Throws ENDPOINT_UNKNOWN, SEAL_BROKEN. */
export async function openSigningSecrets(core: Core, endpointId: string): Promise<readonly string[]> {
  return (await listSigningSecrets(core, endpointId)).map(({ sealed }) => core.seal.open(sealed, purposeOf(endpointId)));
}
