import { WherryError } from '../base/errors.js';

export const ENDPOINT_TYPES = ['queue', 'load-balancer'] as const;
export type EndpointType = (typeof ENDPOINT_TYPES)[number];
export const SCALER_TYPES = ['queueDelay', 'requestCount'] as const;
export type ScalerType = (typeof SCALER_TYPES)[number];
/** What becomes of a worker that is idle for long. */
export const KEEPS = ['freeze', 'none'] as const;
export type Keep = (typeof KEEPS)[number];
/** Where workers run; `auto` is the first runtime of the server that can run the image. */
export const RUNTIME_CHOICES = ['auto', 'process', 'docker'] as const;
export type RuntimeChoice = (typeof RUNTIME_CHOICES)[number];

/** Settings that change in place, without a release. Times in milliseconds. */
export interface EndpointSettings {
  readonly scale: {
    readonly min: number;
    readonly max: number;
    readonly idleMs: number;
    readonly type: ScalerType;
    /** Seconds for queueDelay, jobs per worker for requestCount. */
    readonly value: number;
    /** Idle workers to hold ready beyond what the queue needs; absent: 0. */
    readonly extra?: number;
    /** Without a request for so long, min and extra count as 0 until the next one; absent or 0: never. */
    readonly restAfterMs?: number;
    /** Absent: freeze. */
    readonly keep?: Keep;
  };
  /** Absent: auto. */
  readonly runtime?: RuntimeChoice;
  readonly limits: {
    readonly executionMs: number;
    readonly ttlMs: number;
    readonly retentionMs: number;
    readonly retentionSyncMs: number;
    /** Most jobs that may wait; 0 is no limit. Absent: RunPod's rule, more than 50 and more than 500 for each worker of `max`. */
    readonly queueJobs?: number;
    /** How long a webhook that fails is tried beyond its three tries; absent or 0: not at all. */
    readonly webhookRetryMs?: number;
    /** Request rates as a factor of RunPod's (job-api §10); absent or 0: no limit. */
    readonly rate?: number;
    /** Largest bodies in bytes; absent: those of JOB_LIMITS. */
    readonly runBytes?: number;
    readonly runsyncBytes?: number;
    readonly resultBytes?: number;
    /** What a job over its execution time becomes; absent: TIMED_OUT. Some clients know no end but COMPLETED and FAILED. */
    readonly timeoutState?: 'TIMED_OUT' | 'FAILED';
    /** A low-priority job that waited so long counts as a normal one; absent or 0: never. */
    readonly lowPriorityWaitMs?: number;
  };
}

/** RunPod's defaults (endpoint-settings §1). */
export const DEFAULT_SETTINGS: EndpointSettings = {
  scale: { min: 0, max: 3, idleMs: 5_000, type: 'queueDelay', value: 4 },
  limits: { executionMs: 600_000, ttlMs: 86_400_000, retentionMs: 1_800_000, retentionSyncMs: 60_000 },
};

export interface Endpoint {
  /** In every URL; never changes. */
  readonly id: string;
  /** Free text for people. */
  readonly name: string;
  readonly type: EndpointType;
  readonly settings: EndpointSettings;
  /** The number of the release that serves, or null before the first. */
  readonly activeRelease: number | null;
  /** Why the endpoint starts no workers (crash loop), or null. */
  readonly pausedReason: string | null;
  readonly createdAt: number;
  /** Given when it is made; they never change. */
  readonly labels: Labels;
  /** When the server removes it by itself; null: never. */
  readonly expiresAt: number | null;
}

/** Short texts by name that say whose an endpoint is, for instance which test run made it. */
export type Labels = Readonly<Record<string, string>>;

export const LABEL_LIMITS = { count: 16, valueLength: 128 } as const;
/** Without `=`, so that `NAME=VALUE` is clear. */
export const LABEL_NAME = '^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$';
/** No control characters: values stand in tables and logs. */
export const LABEL_VALUE = '^[^\\u0000-\\u001f\\u007f-\\u009f]*$';

/** How long an endpoint that expires may be kept, counted from the request. */
export const EXPIRY_MS = { min: 1_000, max: 86_400_000 } as const;

/** Its time is over: the server removes it, and nothing of it is started any more. */
export function isExpired({ expiresAt }: Pick<Endpoint, 'expiresAt'>, now: number): boolean {
  return expiresAt !== null && expiresAt <= now;
}

/** `wanted` is `NAME=VALUE`, or `NAME` for any value. */
export function hasLabel(labels: Labels, wanted: string): boolean {
  const [name = '', ...value] = wanted.split('=');
  if (!Object.hasOwn(labels, name)) return false;
  return value.length === 0 || labels[name] === value.join('=');
}

/** `run=42 suite=smoke`. */
export function formatLabels(labels: Labels): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
}

const RESERVED = '_catalog serverless templates pods registries network-volumes catalog billing clusters account'.split(' ');

/** Checks a chosen endpoint id. Throws NAME_INVALID. */
export function checkEndpointId(id: string): void {
  if (!/^[a-z0-9][a-z0-9-]{1,62}$/.test(id)) {
    throw new WherryError('NAME_INVALID', `endpoint id '${id}' is not 2 to 63 characters of a-z, 0-9 and -`, {
      hint: 'choose another `name` in wherry.yaml; the first character is a letter or digit',
    });
  }
  if (RESERVED.includes(id))
    throw new WherryError('NAME_INVALID', `endpoint id '${id}' is a reserved word`, { hint: 'choose another `name`' });
}

/** What is said to who makes an endpoint with the id of another. */
export function nameTaken(id: string): WherryError {
  return new WherryError('NAME_TAKEN', `endpoint '${id}' exists already`, { hint: 'choose another name, or deploy to the existing one' });
}

/** Second path components that make a `/v2/` path a job route (decision 12). Repository names may not have them there. */
export const JOB_VERBS = [
  'run',
  'runsync',
  'status',
  'status-sync',
  'stream',
  'cancel',
  'retry',
  'purge-queue',
  'health',
  'metrics',
  'requests',
  'openai',
  'batch',
  'job-take',
  'job-take-batch',
  'job-stop',
  'job-done',
  'job-stream',
  'ping',
  'realtime',
] as const;

/** Counts over the endpoint's whole life; `/health` shows them. */
export interface JobCounts {
  readonly completed: number;
  readonly failed: number;
  readonly retried: number;
  readonly inProgress: number;
  readonly inQueue: number;
}
