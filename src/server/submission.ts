import { WherryError } from '../base/errors.js';
import type { EndpointSettings } from '../domain/endpoint.js';
import { JOB_LIMITS } from '../domain/job.js';
import type { Submission } from '../engine/engine.js';
import { type Exchange, readBody } from './exchange.js';
import { sliceMembers } from './raw-json.js';

/** Keys of the body that are not for the worker. */
const OWN_KEYS = new Set(['id', 'input', 'policy', 'webhook', 'webhookV2', 'releaseId']);

export interface SubmissionOf {
  readonly endpointId: string;
  readonly isSync: boolean;
  readonly limits: EndpointSettings['limits'];
  /** The caller may say which release runs the job. */
  readonly mayPin: boolean;
}

/** The body of /run and /runsync (job-api §3), with the `Idempotency-Key` header. Throws REQUEST_INVALID, INPUT_TOO_LARGE, DENIED. */
export async function readSubmission(exchange: Exchange, { endpointId, isSync, limits, mayPin }: SubmissionOf): Promise<Submission> {
  const text = await readLimited(
    exchange,
    isSync ? (limits.runsyncBytes ?? JOB_LIMITS.runsyncBytes) : (limits.runBytes ?? JOB_LIMITS.runBytes),
  );
  const body = sliceMembers(text);
  if (!body) throw new WherryError('REQUEST_INVALID', 'the body is not a JSON object');
  const input = body.raw.get('input');
  if (input === undefined) throw new WherryError('REQUEST_INVALID', "the body has no 'input'");
  const extras = [...body.raw].filter(([name]) => !OWN_KEYS.has(name)).map(([name, raw]) => `${JSON.stringify(name)}:${raw}`);
  const webhook = readWebhook(body.parsed['webhook']);
  const idempotencyKey = readIdempotencyKey(exchange);
  const pinnedRelease = readRelease(body.parsed['releaseId'], mayPin);
  return {
    endpointId,
    isSync,
    input,
    extras: extras.length === 0 ? null : `{${extras.join(',')}}`,
    ...readPolicy(body.parsed['policy']),
    ...(webhook !== undefined && { webhook }),
    ...(idempotencyKey !== undefined && { idempotencyKey }),
    ...(pinnedRelease !== undefined && { pinnedRelease }),
  };
}

/** The number of a release: an extension, for tests and replays. */
function readRelease(value: unknown, mayPin: boolean): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (!mayPin)
    throw new WherryError('DENIED', 'releaseId needs an admin key', { hint: 'leave it out: the release that serves runs the job' });
  if (typeof value === 'number' && Number.isInteger(value) && value > 0) return value;
  throw new WherryError('REQUEST_INVALID', 'releaseId is not the number of a release', { hint: 'use 3 for r3' });
}

/** The body, when it is within the limit. Throws INPUT_TOO_LARGE with the limit, REQUEST_INVALID when it is not UTF-8. */
export async function readLimited(exchange: Exchange, limitBytes: number): Promise<string> {
  const text = await readBody(exchange, limitBytes, { isStrict: true });
  if (text !== undefined) return text;
  const limit = limitBytes >= 1024 * 1024 ? `${Math.round((limitBytes / 1024 / 1024) * 100) / 100} MiB` : `${limitBytes} bytes`;
  throw new WherryError('INPUT_TOO_LARGE', `the body is larger than ${limit}`);
}

function readWebhook(value: unknown): string | undefined {
  if (value === undefined || value === null || value === '') return undefined;
  const url = typeof value === 'string' && URL.canParse(value) ? new URL(value) : undefined;
  if (url && (url.protocol === 'http:' || url.protocol === 'https:')) return url.href;
  throw new WherryError('REQUEST_INVALID', 'webhook is not an http or https URL');
}

const KEY_LENGTH = 255;

function readIdempotencyKey({ request }: Exchange): string | undefined {
  const key = request.headers['idempotency-key'];
  if (key === undefined) return undefined;
  if (typeof key === 'string' && key !== '' && key.length <= KEY_LENGTH) return key;
  throw new WherryError('REQUEST_INVALID', `the Idempotency-Key header is not 1 to ${KEY_LENGTH} characters`);
}

function readPolicy(policy: unknown): Pick<Submission, 'priority' | 'executionTimeoutMs' | 'ttlMs'> {
  if (policy === undefined || policy === null) return {};
  if (typeof policy !== 'object') throw new WherryError('REQUEST_INVALID', 'policy is not an object');
  const { executionTimeout, ttl, lowPriority } = policy as Record<string, unknown>;
  const executionTimeoutMs = readRange('policy.executionTimeout', executionTimeout, JOB_LIMITS.executionTimeoutMs);
  const ttlMs = readRange('policy.ttl', ttl, JOB_LIMITS.ttlMs);
  return {
    ...(lowPriority === true && { priority: 'low' as const }),
    ...(executionTimeoutMs !== undefined && { executionTimeoutMs }),
    ...(ttlMs !== undefined && { ttlMs }),
  };
}

function readRange(name: string, value: unknown, { min, max }: { readonly min: number; readonly max: number }): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
  throw new WherryError('REQUEST_INVALID', `${name} is invalid; must be between ${min} and ${max}`);
}

/** A whole number in the query string; undefined when it is absent. Throws REQUEST_INVALID with RunPod's words. */
export function readInteger(
  { query }: Exchange,
  name: string,
  { min, max }: { readonly min: number; readonly max: number },
): number | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  const value = Number(text);
  if (text !== '' && Number.isInteger(value) && value >= min && value <= max) return value;
  throw new WherryError('REQUEST_INVALID', `${name} is invalid; must be between ${min} and ${max}`);
}
