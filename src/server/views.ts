import type {
  CredentialView,
  DeliveryView,
  EndpointView,
  FrozenView,
  JobRecordView,
  KeyView,
  LogLineView,
  ReleaseView,
  RolloutProgressView,
  RolloutView,
  SecretView,
  TestSummaryView,
  WebhookSecretView,
  WorkerView,
} from '../api/resources.js';
import type { Delivery } from '../domain/delivery.js';
import type { Endpoint } from '../domain/endpoint.js';
import type { FrozenTotal } from '../domain/frozen.js';
import type { Job, JobFacts } from '../domain/job.js';
import { formatFacts, formatJob } from '../domain/job-view.js';
import type { Key } from '../domain/key.js';
import type { RegistryCredential } from '../domain/registry-credential.js';
import type { Release, Rollout, RolloutProgress } from '../domain/release.js';
import type { TestSummary } from '../domain/test-report.js';
import type { Worker } from '../domain/worker.js';
import type { SecretFacts, WebhookSecretFacts } from '../engine/engine.js';
import type { LogLine } from '../engine/log-line.js';

/** Records as /api/v1 shows them: moments as RFC 3339, no hashes, no tokens. */
const moment = (at: number) => new Date(at).toISOString();
const momentOrNull = (at: number | null) => (at === null ? null : moment(at));

/** An endpoint as the API tells of it. */
export function viewEndpoint({ createdAt, expiresAt, ...rest }: Endpoint): EndpointView {
  return { ...rest, createdAt: moment(createdAt), expiresAt: momentOrNull(expiresAt) };
}

/** `tests` are the release's own. */
export function viewRelease({ createdAt, ...rest }: Release, tests: TestSummary | undefined): ReleaseView {
  return { ...rest, createdAt: moment(createdAt), tests: tests ? viewTests(tests) : null };
}

/** How a release did in its tests. */
export function viewTests({ passed, failed, at }: TestSummary): TestSummaryView {
  return { passed, failed, at: moment(at) };
}

const MASK = '***';

/** For keys that may not read secrets: names of variables, no values. */
export function viewReleaseMasked(release: Release, tests: TestSummary | undefined): ReleaseView {
  const { spec, ...rest } = viewRelease(release, tests);
  const env = Object.fromEntries(Object.keys(spec.env).map((name) => [name, MASK]));
  return { ...rest, spec: { ...spec, env } };
}

/** A rollout as the API tells of it. */
export function viewRollout({ startedAt, provedAt, endedAt, ...rest }: Rollout): RolloutView {
  return { ...rest, startedAt: moment(startedAt), provedAt: momentOrNull(provedAt), endedAt: momentOrNull(endedAt) };
}

/** `percentOnLatest` only where it is known: of the newest rollout of a list. */
export function viewProgress({ percentOnLatest, ...rollout }: RolloutProgress): RolloutProgressView {
  return { ...viewRollout(rollout), percentOnLatest };
}

/** `serving` are the releases that get jobs. */
export function viewWorker(worker: Worker, serving: ReadonlySet<number>, jobs: readonly string[] = []): WorkerView {
  const { id, endpointId, release, state, isCandidate, exitCode, reason } = worker;
  return {
    id,
    endpointId,
    release,
    state,
    isStale: !isCandidate && !serving.has(release),
    isCandidate,
    createdAt: moment(worker.createdAt),
    readyAt: momentOrNull(worker.readyAt),
    lastSeenAt: momentOrNull(worker.lastSeenAt),
    idleSince: momentOrNull(worker.idleSince),
    frozenAt: momentOrNull(worker.frozenAt),
    memoryBytes: worker.memoryBytes,
    gpus: worker.gpus ?? [],
    runtime: worker.runtime,
    path: worker.start?.path ?? null,
    jobs,
    stoppedAt: momentOrNull(worker.stoppedAt),
    exitCode,
    reason,
  };
}

/** All frozen workers of an endpoint together. */
export function viewFrozen({ since, ...rest }: FrozenTotal): FrozenView {
  return { ...rest, since: momentOrNull(since) };
}

/** A job with its output or error. */
export function viewJob(job: Job): JobRecordView {
  return { ...JSON.parse(formatJob(job)), ...viewRecord(job) };
}

/** A job of a list: without `output` and `error`, which may be large. */
export function viewJobFacts(job: JobFacts): JobRecordView {
  return { ...JSON.parse(`{${formatFacts(job).join(',')}}`), ...viewRecord(job) };
}

function viewRecord(job: JobFacts): Pick<JobRecordView, 'submittedAt' | 'finishedAt' | 'release' | 'attempt'> {
  return {
    submittedAt: moment(job.submittedAt),
    finishedAt: momentOrNull(job.finishedAt),
    release: job.release,
    attempt: job.attempt,
  };
}

/** A webhook's delivery with every try. */
export function viewDelivery({ id, endpointId, jobId, jobState, url, state, createdAt, dueAt, attempts }: Delivery): DeliveryView {
  const tries = attempts.map(({ at, ...rest }) => ({ at: moment(at), ...rest }));
  const when = { createdAt: moment(createdAt), dueAt: momentOrNull(dueAt) };
  return { id, endpointId, jobId, jobStatus: jobState, url, state, ...when, attempts: tries };
}

/** When a webhook secret was made, and when it ends; never the secret. */
export function viewWebhookSecret({ createdAt, expiresAt }: WebhookSecretFacts): WebhookSecretView {
  return { createdAt: moment(createdAt), expiresAt: momentOrNull(expiresAt) };
}

/** A secret's name, dates and users; never its value. */
export function viewSecret({ name, createdAt, updatedAt, usedBy }: SecretFacts): SecretView {
  return { name, createdAt: moment(createdAt), updatedAt: moment(updatedAt), usedBy };
}

/** A log line as the API tells of it. */
export function viewLogLine({ at, ...rest }: LogLine): LogLineView {
  return { ...rest, at: moment(at) };
}

/** Whose credentials are stored for a registry; never the password. */
export function viewCredential({ registry, username, createdAt }: RegistryCredential): CredentialView {
  return { registry, username, createdAt: moment(createdAt) };
}

/** A key's name and rights; never the key. */
export function viewKey({ id, name, scope, endpointId, isEnabled, createdAt }: Key): KeyView {
  return { id, name, scope, endpointId, isEnabled, createdAt: moment(createdAt) };
}
