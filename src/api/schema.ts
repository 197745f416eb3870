import { type Static, type TSchema, Type } from 'typebox';
import { ERRORS } from '../base/errors.js';
import { DELIVERY_STATES } from '../domain/delivery.js';
import { EXPIRY_MS, KEEPS, LABEL_LIMITS, LABEL_NAME, LABEL_VALUE, RUNTIME_CHOICES, SCALER_TYPES } from '../domain/endpoint.js';
import { JOB_STATES } from '../domain/job.js';
import { KEY_SCOPES } from '../domain/key.js';
import { ROLLOUT_STATES } from '../domain/release.js';
import { START_PATHS, WORKER_STATES } from '../domain/worker.js';
import type { DeliveryView, ReleaseView, WorkerView } from './resources.js';
import type { HostView } from './scaling.js';
import { TestSummary } from './schema-report.js';
import { SPEC } from './schema-spec.js';

/** The shapes of /api/v1, which are also its OpenAPI document. Loaded by the server only: `resources.ts` has the types for others. */
const strict = { additionalProperties: false } as const;
const nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);
const oneOf = <const T extends string>(values: readonly T[]) => Type.Unsafe<T>(Type.Enum([...values]));
const moment = Type.String({ description: 'RFC 3339' });
const ms = (description: string) => Type.Integer({ minimum: 0, maximum: 2_592_000_000, description: `${description}, in milliseconds` });
const share = (what: string) => Type.Integer({ minimum: 1, maximum: 99, description: `percent of ${what}` });
const count = Type.Integer({ minimum: 0 });
const bytes = (description: string) =>
  Type.Integer({ minimum: 1_024, maximum: 256 * 1024 * 1024, description: `${description}, in bytes` });

const SCALE = {
  min: Type.Integer({ minimum: 0, maximum: 1000, description: 'workers that always run' }),
  max: Type.Integer({ minimum: 0, maximum: 1000, description: 'most workers; 0 parks the endpoint' }),
  idleMs: ms('how long a worker without work stays'),
  type: oneOf(SCALER_TYPES),
  value: Type.Number({ exclusiveMinimum: 0, description: 'seconds for queueDelay, jobs a worker for requestCount' }),
  extra: Type.Optional(Type.Integer({ minimum: 0, maximum: 1000, description: 'idle workers to hold ready beyond what the queue needs' })),
  restAfterMs: Type.Optional(ms('without a request for so long min and extra count as 0 until the next one; 0 is never')),
  keep: Type.Optional(oneOf(KEEPS)),
};
const LIMITS = {
  executionMs: ms('longest run of a job; 0 is no limit'),
  ttlMs: ms('longest life of a job'),
  retentionMs: ms('how long results of /run are kept'),
  retentionSyncMs: ms('how long results of /runsync are kept'),
  webhookRetryMs: Type.Optional(ms('how long a failing webhook is tried beyond its three tries; 0 is not at all')),
  rate: Type.Optional(Type.Number({ minimum: 0, description: "request rates as a factor of RunPod's; 0 is no limit" })),
  runBytes: Type.Optional(bytes('largest body of /run')),
  runsyncBytes: Type.Optional(bytes('largest body of /runsync and /openai')),
  resultBytes: Type.Optional(bytes('largest result and chunk of a worker')),
  timeoutState: Type.Optional(oneOf(['TIMED_OUT', 'FAILED'])),
  lowPriorityWaitMs: Type.Optional(ms('after so long in the queue a low-priority job counts as a normal one; 0 is never')),
  queueJobs: Type.Optional(Type.Integer({ minimum: 0, description: 'most waiting jobs; 0 is no limit' })),
};

const RUNTIME = Type.Optional(oneOf(RUNTIME_CHOICES));

export const Settings = Type.Object({ scale: Type.Object(SCALE, strict), limits: Type.Object(LIMITS, strict), runtime: RUNTIME }, strict);
export const SettingsChange = Type.Object(
  {
    scale: Type.Optional(Type.Partial(Type.Object(SCALE), strict)),
    limits: Type.Optional(Type.Partial(Type.Object(LIMITS), strict)),
    runtime: RUNTIME,
  },
  strict,
);
export const Endpoint = Type.Object({
  id: Type.String(),
  name: Type.String(),
  type: Type.String(),
  settings: Settings,
  activeRelease: nullable(Type.Integer()),
  pausedReason: nullable(Type.String()),
  createdAt: moment,
  labels: Type.Record(Type.String(), Type.String()),
  expiresAt: nullable(moment),
});
const expiresInMs = Type.Integer({
  minimum: EXPIRY_MS.min,
  maximum: EXPIRY_MS.max,
  description: 'after so many milliseconds from now the server removes the endpoint by itself',
});
export const NewEndpoint = Type.Object(
  {
    id: Type.String(),
    name: Type.Optional(Type.String({ maxLength: 191 })),
    settings: Type.Optional(SettingsChange),
    labels: Type.Optional(
      Type.Record(Type.String({ pattern: LABEL_NAME }), Type.String({ pattern: LABEL_VALUE, maxLength: LABEL_LIMITS.valueLength }), {
        ...strict,
        maxProperties: LABEL_LIMITS.count,
      }),
    ),
    expiresInMs: Type.Optional(expiresInMs),
  },
  strict,
);
export const EndpointQuery = Type.Object({
  label: Type.Optional(Type.String({ maxLength: 1_000, description: 'NAME=VALUE, or NAME for any value' })),
});
export const EndpointChange = Type.Object(
  {
    name: Type.Optional(Type.String({ maxLength: 191 })),
    settings: Type.Optional(SettingsChange),
    isPaused: Type.Optional(Type.Boolean()),
    expiresInMs: Type.Optional(nullable(expiresInMs)),
  },
  strict,
);

const SpecChange = Type.Partial(Type.Object(SPEC), strict);
export const Release = Type.Unsafe<ReleaseView>(
  Type.Object({
    endpointId: Type.String(),
    number: Type.Integer({ minimum: 1 }),
    createdAt: moment,
    author: Type.String({ description: "the key's name" }),
    source: Type.String({ description: '`deploy`, `rollback:rN` or `promote:ENDPOINT@rN`' }),
    sourceRevision: nullable(Type.String()),
    image: Type.Object({ reference: Type.String(), repository: Type.String(), tag: nullable(Type.String()), digest: Type.String() }),
    spec: Type.Object(SPEC),
    tests: nullable(TestSummary),
  }),
);
const { id: _, ...first } = NewEndpoint.properties;
const FirstEndpoint = Type.Object(first, { ...strict, description: 'makes the endpoint, in one step with this release: both or neither' });
export const NewRelease = Type.Object(
  {
    endpoint: Type.Optional(FirstEndpoint),
    reference: Type.Optional(Type.String({ description: 'name, name:tag, name@sha256:… or name:tag@sha256:…' })),
    from: Type.Optional(
      Type.Object(
        { endpointId: Type.String(), number: Type.Integer({ minimum: 1 }) },
        { ...strict, description: 'in place of a reference: the release whose image this one has, by its digest, without resolving a tag' },
      ),
    ),
    spec: Type.Optional(SpecChange),
    sourceRevision: Type.Optional(nullable(Type.String())),
    supersede: Type.Optional(Type.Boolean({ description: 'a rollout that is still open gives way instead of refusing this one' })),
    canary: Type.Optional(share('new jobs it gets once it is proved, until it is promoted; all when absent')),
    hold: Type.Optional(Type.Boolean({ description: 'its candidate, once ready, waits to be promoted' })),
    holdMs: Type.Optional(ms('how long it waits before it is taken back; 15 minutes by default')),
  },
  strict,
);
export const Rollout = Type.Object({
  endpointId: Type.String(),
  from: nullable(Type.Integer()),
  to: Type.Integer(),
  share: Type.Integer(),
  state: oneOf(ROLLOUT_STATES),
  reason: nullable(Type.String()),
  holdMs: nullable(Type.Integer()),
  provedAt: nullable(moment),
  startedAt: moment,
  endedAt: nullable(moment),
});
export const RolloutProgress = Type.Object({
  ...Rollout.properties,
  percentOnLatest: nullable(Type.Integer({ description: 'of the workers, those that run the release; only of the newest rollout' })),
});
export const RolloutStep = Type.Object(
  {
    action: oneOf(['promote', 'abort', 'share']),
    to: Type.Optional(Type.Integer({ minimum: 1, description: 'the release that is meant; refused when another one is being rolled out' })),
    share: Type.Optional(share('new jobs, for the action share')),
    reason: Type.Optional(Type.String({ maxLength: 10_000, description: 'for the action abort' })),
  },
  strict,
);
export const ReleaseQuery = Type.Object({
  before: Type.Optional(Type.Integer({ minimum: 1, description: 'only releases with a smaller number' })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, description: '100 when absent' })),
});
export const Rollback = Type.Object({ release: Type.Optional(Type.Integer({ minimum: 1 })) }, strict);
export const Deployed = Type.Object({
  release: Release,
  rollout: nullable(Rollout),
  warnings: Type.Array(Type.String()),
  size: Type.Object({ bytes: Type.Integer({ minimum: 0, description: 'config and layers, compressed' }), layers: count }),
});
export const Worker = Type.Unsafe<WorkerView>(
  Type.Object({
    id: Type.String(),
    endpointId: Type.String(),
    release: Type.Integer(),
    state: oneOf(WORKER_STATES),
    isStale: Type.Boolean(),
    isCandidate: Type.Boolean(),
    createdAt: moment,
    readyAt: nullable(moment),
    lastSeenAt: nullable(moment),
    idleSince: nullable(moment),
    frozenAt: nullable(moment),
    memoryBytes: nullable(Type.Integer({ description: 'held while it is frozen' })),
    gpus: Type.Array(Type.String(), { description: 'ids of those it has for itself' }),
    runtime: Type.String(),
    path: nullable(oneOf(START_PATHS)),
    jobs: Type.Array(Type.String(), { description: 'ids of those it has' }),
    stoppedAt: nullable(moment),
    exitCode: nullable(Type.Integer()),
    reason: nullable(Type.String()),
  }),
);
export const Job = Type.Object({
  id: Type.String(),
  status: oneOf(JOB_STATES),
  delayTime: Type.Optional(Type.Integer({ description: 'milliseconds from submission to pick-up' })),
  executionTime: Type.Optional(Type.Integer({ description: 'milliseconds from pick-up to the end' })),
  workerId: Type.Optional(Type.String()),
  output: Type.Optional(Type.Unknown()),
  error: Type.Optional(Type.Unknown()),
  submittedAt: moment,
  finishedAt: nullable(moment),
  release: nullable(Type.Integer()),
  attempt: Type.Integer(),
});
export const Health = Type.Object({
  jobs: Type.Object({ completed: count, failed: count, inProgress: count, inQueue: count, retried: count }),
  workers: Type.Object({ idle: count, initializing: count, ready: count, running: count, throttled: count, unhealthy: count }),
});
export const LogLine = Type.Object({
  id: Type.String(),
  at: moment,
  source: oneOf(['system', 'container']),
  workerId: Type.String(),
  jobId: nullable(Type.String()),
  text: Type.String(),
});
const DELIVERY = {
  id: Type.String({ description: 'sent as Wherry-Webhook-Id, the same over every try' }),
  endpointId: Type.String(),
  jobId: Type.String(),
  jobStatus: oneOf(JOB_STATES),
  url: Type.String(),
  state: oneOf(DELIVERY_STATES),
  createdAt: moment,
  dueAt: nullable(moment),
  attempts: Type.Array(
    Type.Object({
      at: moment,
      durationMs: count,
      status: nullable(Type.Integer({ description: "the receiver's answer; 200 alone counts" })),
      reason: nullable(Type.String()),
    }),
  ),
};
export const Delivery = Type.Unsafe<DeliveryView>(Type.Object(DELIVERY));
export const WholeDelivery = Type.Unsafe<DeliveryView & { readonly body: string }>(
  Type.Object({ ...DELIVERY, body: Type.String({ description: 'exactly as it is sent' }) }),
);
export const DeliveryPath = Type.Object({ id: Type.String(), delivery: Type.String() });
export const DeliveryQuery = Type.Object({
  state: Type.Optional(oneOf(DELIVERY_STATES)),
  job: Type.Optional(Type.String()),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
});
const SECRET = { createdAt: moment, expiresAt: nullable(moment) };
export const Webhook = Type.Object({ retryMs: Type.Integer(), secrets: Type.Array(Type.Object(SECRET)) });
export const NewSecret = Type.Object(
  {
    rotate: Type.Optional(Type.Boolean({ description: 'also when there is a secret already' })),
    overlapMs: Type.Optional(ms('how long the secrets before sign too; a day by default')),
  },
  strict,
);
export const MadeSecret = Type.Object({ ...SECRET, secret: Type.String({ description: 'shown only now' }) });
export const Key = Type.Object({
  id: Type.String(),
  name: Type.String(),
  scope: oneOf(KEY_SCOPES),
  endpointId: nullable(Type.String()),
  isEnabled: Type.Boolean(),
  createdAt: moment,
});
export const NewKey = Type.Object(
  { name: Type.String({ minLength: 1, maxLength: 100 }), scope: oneOf(KEY_SCOPES), endpointId: Type.Optional(Type.String()) },
  strict,
);
export const MadeKey = Type.Object({ ...Key.properties, key: Type.String({ description: 'shown only now' }) });
export const KeyChange = Type.Object({ isEnabled: Type.Boolean() }, strict);
export const Credential = Type.Object({ registry: Type.String(), username: nullable(Type.String()), createdAt: moment });
export const NewCredential = Type.Object(
  {
    username: Type.Optional(Type.String({ minLength: 1, maxLength: 1_024 })),
    password: Type.Optional(Type.String({ minLength: 1, maxLength: 65_536 })),
    identityToken: Type.Optional(Type.String({ minLength: 1, maxLength: 65_536, description: 'in place of username and password' })),
    try: Type.Optional(Type.Boolean({ description: 'log in at the registry first; true by default' })),
  },
  strict,
);
export const CredentialPath = Type.Object({ registry: Type.String({ description: 'HOST, HOST:PORT or HOST/PATH, percent-encoded' }) });
const Frozen = Type.Object(
  { workers: count, bytes: count, since: nullable(moment) },
  { description: 'frozen workers, which health counts as idle; bytes they hold together; since when the longest frozen one is' },
);
const Room = Type.Object({ cpu: Type.Number({ description: 'cores' }), memoryBytes: Type.Integer(), gpu: Type.Integer() });
const Host = Type.Unsafe<HostView>(
  Type.Object(
    {
      total: Room,
      used: Room,
      starting: count,
      startLimit: count,
      throttled: count,
      labels: Type.Record(Type.String(), Type.Array(Type.String())),
    },
    {
      description:
        'the machine as all endpoints share it: what it has, what workers hold of it, how many start and may at once, its labels',
    },
  ),
);
export const Status = Type.Object({
  version: Type.String(),
  startedAt: moment,
  host: Host,
  endpoints: Type.Array(
    Type.Object({
      ...Endpoint.properties,
      health: Health,
      summary: Type.String({ description: 'its health in one sentence' }),
      frozen: Frozen,
      rollout: nullable(RolloutProgress),
    }),
  ),
});
export const RegistryState = Type.Object({
  blobs: count,
  bytes: count,
  unnamedBlobs: count,
  unnamedBytes: count,
  repositories: Type.Array(
    Type.Object({
      repository: Type.String(),
      tags: Type.Array(Type.String()),
      manifests: count,
      bytes: Type.Integer({ minimum: 0, description: 'each blob that it shows once' }),
      exclusiveBytes: Type.Integer({ minimum: 0, description: 'what no other repository shows' }),
    }),
  ),
  quotaBytes: nullable(Type.Integer()),
  isReadOnly: Type.Boolean(),
});
export const CollectOrder = Type.Object({ dryRun: Type.Optional(Type.Boolean({ description: 'only say what would go' })) }, strict);
export const Collected = Type.Object({
  isDryRun: Type.Boolean(),
  repositories: Type.Array(
    Type.Object({ repository: Type.String(), tags: Type.Array(Type.String()), manifests: Type.Array(Type.String()), blobs: count }),
  ),
  skipped: Type.Array(Type.Object({ repository: Type.String(), reason: Type.String() })),
  blobs: count,
  freedBytes: count,
});
export const VerifyOrder = Type.Object(
  { repair: Type.Optional(Type.Boolean({ description: 'set damaged blobs aside, so that the next push or pull brings them' })) },
  strict,
);
export const ErrorEnvelope = Type.Object({
  error: Type.Object({
    code: oneOf(Object.keys(ERRORS)),
    message: Type.String(),
    hint: Type.Optional(Type.String()),
    detail: Type.Optional(Type.Unknown()),
    requestId: Type.String(),
  }),
});
export const listOf = <T extends TSchema>(schema: T) => Type.Object({ items: Type.Array(schema) });
export const EndpointPath = Type.Object({ id: Type.String() });
export const WorkerQuery = Type.Object({ all: Type.Optional(Type.Boolean()) });
export const JobQuery = Type.Object({
  state: Type.Optional(oneOf(JOB_STATES)),
  worker: Type.Optional(Type.String()),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000 })),
});
export const LogQuery = Type.Object({
  worker: Type.Optional(Type.String()),
  job: Type.Optional(Type.String()),
  release: Type.Optional(Type.Integer()),
  source: Type.Optional(oneOf(['system', 'container'])),
  since: Type.Optional(Type.String({ description: 'RFC 3339: lines at or after' })),
  until: Type.Optional(Type.String({ description: 'RFC 3339: lines before' })),
  grep: Type.Optional(
    Type.String({ minLength: 1, maxLength: 500, description: 'a regular expression (RE2) that the text matches somewhere' }),
  ),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000 })),
  follow: Type.Optional(Type.Boolean()),
  after: Type.Optional(Type.String()),
});
export const WaitQuery = Type.Object({ waitMs: Type.Optional(Type.Integer({ minimum: 0, maximum: 60_000 })) });

export type NewCredentialBody = Static<typeof NewCredential>;
export type FirstEndpointBody = Static<typeof FirstEndpoint>;
export type NewReleaseBody = Static<typeof NewRelease>;
export type LogQueryText = Static<typeof LogQuery>;
