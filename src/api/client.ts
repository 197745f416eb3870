import { messageOf, systemCodeOf, toWherryError, WherryError } from '../base/errors.js';
import type { EndpointSettings, Labels } from '../domain/endpoint.js';
import type { KeyScope } from '../domain/key.js';
import { isAtRest, type ReleaseSpec } from '../domain/release.js';
import { parseError } from './envelope.js';
import { readEvents } from './events.js';
import { readLines } from './lines.js';
import type {
  CollectedView,
  CredentialView,
  DeliveryQuery,
  DeliveryView,
  DeployView,
  EndpointQuery,
  EndpointView,
  EndpointWhyView,
  HealthView,
  JobQuery,
  JobRecordView,
  JobView,
  JobWhyView,
  KeyView,
  LogLineView,
  LogQuery,
  RegistryView,
  ReleaseOrigin,
  ReleaseQuery,
  ReleaseView,
  RolloutProgressView,
  RolloutStepBody,
  RolloutView,
  SecretView,
  StatusView,
  StreamView,
  TestReport,
  TestSummaryView,
  VerifyLineView,
  WebhookSecretView,
  WebhookView,
  WorkerView,
} from './resources.js';
import type { DecisionQuery, DecisionView } from './scaling.js';

/** Settings of which only some are given; the others stay. */
export type SettingsChange = { readonly [K in keyof EndpointSettings]?: Partial<EndpointSettings[K]> };

/** What an endpoint is made with. */
export interface FirstEndpoint {
  readonly name?: string;
  readonly settings?: SettingsChange;
  readonly labels?: Labels;
  readonly expiresInMs?: number;
}

/** The server's API as functions. Every one rejects with the server's own error, SERVER_UNAVAILABLE, or OUTCOME_UNKNOWN when it may have been done all the same. */
export interface ApiClient {
  status(): Promise<StatusView>;
  listEndpoints(query?: EndpointQuery): Promise<readonly EndpointView[]>;
  /** With `expiresInMs` (1 s to 24 h) the server removes it by itself so long after now. */
  createEndpoint(body: FirstEndpoint & { readonly id: string }): Promise<EndpointView>;
  getEndpoint(id: string): Promise<EndpointView>;
  /** `expiresInMs` counts from now; null: it is kept until somebody removes it. */
  updateEndpoint(
    id: string,
    change: {
      readonly name?: string;
      readonly settings?: SettingsChange;
      readonly isPaused?: boolean;
      readonly expiresInMs?: number | null;
    },
  ): Promise<EndpointView>;
  removeEndpoint(id: string): Promise<void>;
  /** With `endpoint` that one is made in the same step; NAME_TAKEN when it is there. */
  deploy(
    id: string,
    body: ReleaseOrigin & {
      readonly endpoint?: FirstEndpoint;
      readonly spec?: Partial<ReleaseSpec>;
      readonly sourceRevision?: string | null;
      readonly supersede?: boolean;
      /** Percent of new jobs until it is promoted. */
      readonly canary?: number;
      readonly hold?: boolean;
      readonly holdMs?: number;
    },
  ): Promise<DeployView>;
  rollback(id: string, body: { readonly release?: number }): Promise<DeployView>;
  /** Newest first, 100 of them when no limit is given. */
  listReleases(id: string, query?: ReleaseQuery): Promise<readonly ReleaseView[]>;
  /** Keeps the report of a release's tests in place of an earlier one. */
  putReport(id: string, release: number, report: TestReport): Promise<TestSummaryView>;
  getReport(id: string, release: number): Promise<TestReport>;
  /** Newest first, 100 of them when no limit is given. */
  listRollouts(id: string, query?: ReleaseQuery): Promise<readonly RolloutProgressView[]>;
  /** Promotes or aborts the open rollout, or changes its share. */
  stepRollout(id: string, step: RolloutStepBody): Promise<RolloutView>;
  /** Waits until the rollout has ended, is a canary, or waits to be promoted; `waitMs` at most. */
  waitRollout(id: string, to: number, waitMs: number): Promise<RolloutView>;
  /** Newest first. */
  listDecisions(id: string, query?: DecisionQuery): Promise<readonly DecisionView[]>;
  listWorkers(id: string, options?: { readonly all?: boolean }): Promise<readonly WorkerView[]>;
  listJobs(id: string, query?: JobQuery): Promise<readonly JobRecordView[]>;
  getJob(id: string, jobId: string): Promise<JobRecordView>;
  health(id: string): Promise<HealthView>;
  /** How an endpoint is, and what holds its queue. */
  explainEndpoint(id: string): Promise<EndpointWhyView>;
  /** Why a job waits, or how it went; without an endpoint the job is looked for among all. */
  explainJob(jobId: string, endpointId?: string): Promise<JobWhyView>;
  readLogs(id: string, query?: LogQuery): Promise<readonly LogLineView[]>;
  /** Past lines, then live ones until the signal aborts; goes on by itself after a broken connection. */
  followLogs(id: string, query: LogQuery, signal: AbortSignal): AsyncIterable<LogLineView>;
  getWebhook(id: string): Promise<WebhookView>;
  /** `secret` is shown only here; with `rotate` the ones before go on signing for `overlapMs`. */
  makeWebhookSecret(
    id: string,
    body?: { readonly rotate?: boolean; readonly overlapMs?: number },
  ): Promise<WebhookSecretView & { readonly secret: string }>;
  removeWebhookSecrets(id: string): Promise<void>;
  listDeliveries(id: string, query?: DeliveryQuery): Promise<readonly DeliveryView[]>;
  getDelivery(id: string, deliveryId: string): Promise<DeliveryView & { readonly body: string }>;
  redeliver(id: string, deliveryId: string): Promise<DeliveryView>;
  registry(): Promise<RegistryView>;
  collectRegistry(body?: { readonly dryRun?: boolean }): Promise<CollectedView>;
  /** Lines as they come. Without an `end` among them the server went away, or an `error` says why it could not go on. */
  verifyRegistry(body: { readonly repair?: boolean }, signal: AbortSignal): AsyncIterable<VerifyLineView>;
  listCredentials(): Promise<readonly CredentialView[]>;
  /** Kept after the registry accepted them; with `try: false` without asking it. */
  putCredential(
    registry: string,
    body: { readonly username?: string; readonly password?: string; readonly identityToken?: string; readonly try?: boolean },
  ): Promise<CredentialView>;
  removeCredential(registry: string): Promise<void>;
  listSecrets(): Promise<readonly SecretView[]>;
  /** The value is never answered. */
  putSecret(name: string, body: { readonly value: string }): Promise<SecretView>;
  /** With `force` also while a release in use refers to it. */
  removeSecret(name: string, query?: { readonly force?: boolean }): Promise<void>;
  listKeys(): Promise<readonly KeyView[]>;
  /** `key` is shown only here. */
  createKey(body: {
    readonly name: string;
    readonly scope: KeyScope;
    readonly endpointId?: string;
  }): Promise<KeyView & { readonly key: string }>;
  updateKey(id: string, change: { readonly isEnabled: boolean }): Promise<KeyView>;
  removeKey(id: string): Promise<void>;
  /** Sends a job; with `waitMs` through /runsync. */
  submit(
    id: string,
    body: { readonly input: unknown; readonly policy?: object; readonly releaseId?: number },
    options?: {
      readonly waitMs?: number;
      /** A repetition with the same key is the same job. */
      readonly idempotencyKey?: string;
    },
  ): Promise<JobView>;
  /** Chunks that nobody read yet; held for `waitMs` when there are none. */
  readStream(id: string, jobId: string, waitMs: number): Promise<StreamView>;
  jobStatus(id: string, jobId: string, waitMs?: number): Promise<JobView>;
  cancel(id: string, jobId: string): Promise<JobView>;
  purge(id: string): Promise<{ readonly removed: number }>;
}

type Items<T> = { readonly items: readonly T[] };

/** Longest single wait of a request for a rollout. */
const HOLD_MS = 30_000;

/** A client for the server at `url`; runs wherever `fetch` does. */
export function createApiClient({ url, key }: { readonly url: string; readonly key: string }): ApiClient {
  const open = (path: string, init: RequestInit = {}) =>
    fetch(`${url}${path}`, { ...init, headers: { authorization: `Bearer ${key}`, ...init.headers } }).catch((cause: unknown) => {
      throw new WherryError('SERVER_UNAVAILABLE', `no server answers at ${url}: ${messageOf(causeOf(cause))}`, {
        hint: 'start it with `wherry serve`, or name another with --api-url',
        cause,
      });
    });
  const call = async <T>(method: string, path: string, body?: unknown, more: Readonly<Record<string, string>> = {}): Promise<T> => {
    const sent = body === undefined ? {} : { headers: { 'content-type': 'application/json', ...more }, body: JSON.stringify(body) };
    try {
      const answer = await open(path, { method, ...sent });
      const value = parseJson(await readBody(answer));
      if (!answer.ok) throw parseError(answer.status, value);
      return value as T;
    } catch (thrown) {
      throw method === 'GET' ? thrown : doubt(toWherryError(thrown), `${method} ${path.split('?')[0]}`);
    }
  };
  const list = async <T>(path: string): Promise<readonly T[]> => (await call<Items<T>>('GET', path)).items;
  const at = (id: string, rest = '') => `/api/v1/endpoints/${encodeURIComponent(id)}${rest}`;
  const job = (id: string, rest: string) => `/v2/${encodeURIComponent(id)}/${rest}`;

  return {
    status: () => call('GET', '/api/v1/status'),
    listEndpoints: (query = {}) => list(`/api/v1/endpoints${formatQuery(query)}`),
    createEndpoint: (body) => call('POST', '/api/v1/endpoints', body),
    getEndpoint: (id) => call('GET', at(id)),
    updateEndpoint: (id, change) => call('PATCH', at(id), change),
    removeEndpoint: (id) => call('DELETE', at(id)),
    deploy: (id, body) => call('POST', at(id, '/releases'), body),
    rollback: (id, body) => call('POST', at(id, '/rollback'), body),
    listReleases: (id, query = {}) => list(at(id, `/releases${formatQuery(query)}`)),
    putReport: (id, release, report) => call('PUT', at(id, `/releases/${release}/report`), report),
    getReport: (id, release) => call('GET', at(id, `/releases/${release}/report`)),
    listRollouts: (id, query = {}) => list(at(id, `/rollouts${formatQuery(query)}`)),
    stepRollout: (id, step) => call('POST', at(id, '/rollout'), step),
    async waitRollout(id, to, waitMs) {
      const end = performance.now() + waitMs;
      for (;;) {
        const hold = Math.max(0, Math.min(HOLD_MS, Math.round(end - performance.now())));
        const rollout = await call<RolloutView>('GET', at(id, `/rollouts/${to}?waitMs=${hold}`));
        if (isAtRest(rollout) || performance.now() >= end) return rollout;
      }
    },
    listDecisions: (id, query = {}) => list(at(id, `/decisions${formatQuery(query)}`)),
    listWorkers: (id, { all = false } = {}) => list(at(id, `/workers?all=${all}`)),
    listJobs: (id, query = {}) => list(at(id, `/jobs${formatQuery(query)}`)),
    getJob: (id, jobId) => call('GET', at(id, `/jobs/${encodeURIComponent(jobId)}`)),
    health: (id) => call('GET', at(id, '/health')),
    explainEndpoint: (id) => call('GET', at(id, '/why')),
    explainJob: (jobId, endpointId) => {
      const path = `/jobs/${encodeURIComponent(jobId)}/why`;
      return call('GET', endpointId === undefined ? `/api/v1${path}` : at(endpointId, path));
    },
    readLogs: (id, query = {}) => list(at(id, `/logs${formatQuery(query)}`)),
    followLogs: (id, query, signal) =>
      readEvents<LogLineView>(async (lastId) => {
        const headers = { accept: 'text/event-stream', ...(lastId !== undefined && { 'last-event-id': lastId }) };
        const answer = await open(at(id, `/logs${formatQuery({ ...query, follow: true })}`), { headers, signal });
        if (!answer.ok) throw parseError(answer.status, parseJson(await answer.text()));
        return answer;
      }, signal),
    getWebhook: (id) => call('GET', at(id, '/webhook')),
    makeWebhookSecret: (id, body = {}) => call('POST', at(id, '/webhook/secret'), body),
    removeWebhookSecrets: (id) => call('DELETE', at(id, '/webhook/secret')),
    listDeliveries: (id, query = {}) => list(at(id, `/deliveries${formatQuery(query)}`)),
    getDelivery: (id, deliveryId) => call('GET', at(id, `/deliveries/${encodeURIComponent(deliveryId)}`)),
    redeliver: (id, deliveryId) => call('POST', at(id, `/deliveries/${encodeURIComponent(deliveryId)}/redeliver`)),
    registry: () => call('GET', '/api/v1/registry'),
    collectRegistry: (body = {}) => call('POST', '/api/v1/registry/collect', body),
    async *verifyRegistry(body, signal) {
      const headers = { 'content-type': 'application/json' };
      const answer = await open('/api/v1/registry/verify', { method: 'POST', headers, body: JSON.stringify(body), signal });
      if (!answer.ok || !answer.body) throw parseError(answer.status, parseJson(await answer.text()));
      yield* readLines<VerifyLineView>(answer.body);
    },
    listCredentials: () => list('/api/v1/credentials'),
    putCredential: (registry, body) => call('PUT', `/api/v1/credentials/${encodeURIComponent(registry)}`, body),
    removeCredential: (registry) => call('DELETE', `/api/v1/credentials/${encodeURIComponent(registry)}`),
    listSecrets: () => list('/api/v1/secrets'),
    putSecret: (name, body) => call('PUT', `/api/v1/secrets/${encodeURIComponent(name)}`, body),
    removeSecret: (name, query = {}) => call('DELETE', `/api/v1/secrets/${encodeURIComponent(name)}${formatQuery(query)}`),
    listKeys: () => list('/api/v1/keys'),
    createKey: (body) => call('POST', '/api/v1/keys', body),
    updateKey: (id, change) => call('PATCH', `/api/v1/keys/${encodeURIComponent(id)}`, change),
    removeKey: (id) => call('DELETE', `/api/v1/keys/${encodeURIComponent(id)}`),
    submit: (id, body, { waitMs, idempotencyKey } = {}) => {
      const path = job(id, waitMs === undefined ? 'run' : `runsync?wait=${waitMs}`);
      return call('POST', path, body, idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey });
    },
    readStream: (id, jobId, waitMs) => call('GET', job(id, `stream/${encodeURIComponent(jobId)}?wait=${waitMs}`)),
    jobStatus: (id, jobId, waitMs) =>
      call(
        'GET',
        job(id, waitMs === undefined ? `status/${encodeURIComponent(jobId)}` : `status-sync/${encodeURIComponent(jobId)}?wait=${waitMs}`),
      ),
    cancel: (id, jobId) => call('POST', job(id, `cancel/${encodeURIComponent(jobId)}`)),
    purge: (id) => call('POST', job(id, 'purge-queue')),
  };
}

function formatQuery(query: object): string {
  const parameters = new URLSearchParams(Object.entries(query).map(([name, value]): [string, string] => [name, String(value)]));
  return parameters.size === 0 ? '' : `?${parameters}`;
}

function parseJson(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

function readBody(answer: Response): Promise<string> {
  return answer.text().catch((cause: unknown) => {
    throw new WherryError('SERVER_UNAVAILABLE', `the answer of ${answer.url} broke off: ${messageOf(causeOf(cause))}`, {
      hint: 'try again',
      cause,
    });
  });
}

/** What ends a request before anything of it is sent. */
const UNSENT =
  /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT|ERR_INVALID_URL|ERR_TLS_|ERR_SSL_|UNABLE_TO_)|CERT/;

/** The error of a request that changes something: without an answer of the server itself nobody knows whether it was done. */
function doubt(error: WherryError, request: string): WherryError {
  if (error.code !== 'SERVER_UNAVAILABLE' || UNSENT.test(systemCodeOf(causeOf(error.cause)) ?? '')) return error;
  return new WherryError('OUTCOME_UNKNOWN', `${request} may have been done, or not: ${error.message}`, {
    hint: 'look whether it was, then send it again',
    cause: error,
  });
}

/** `fetch` hides the reason one level down. */
function causeOf(thrown: unknown): unknown {
  return (thrown as { cause?: unknown } | null)?.cause ?? thrown;
}
