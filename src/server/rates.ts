import type { Clock } from '../base/clock.js';
import { WherryError } from '../base/errors.js';

/** RunPod's figures (job-api §10): requests in ten seconds, and how many may be under way at once. */
const RATES = {
  run: { requests: 1_000, open: 200 },
  read: { requests: 2_000, open: 400 },
  cancel: { requests: 100, open: 20 },
  'purge-queue': { requests: 2, open: Number.POSITIVE_INFINITY },
  requests: { requests: 10, open: 2 },
} as const;
type Group = keyof typeof RATES;

const GROUPS: Readonly<Record<string, Group>> = {
  run: 'run',
  runsync: 'read',
  status: 'read',
  'status-sync': 'read',
  stream: 'read',
  openai: 'read',
  cancel: 'cancel',
  'purge-queue': 'purge-queue',
  requests: 'requests',
};

/** The allowance of each running worker, where that is more. */
const PER_WORKER = 50;
const WINDOW_MS = 10_000;
const BUCKET_MS = 1_000;
/** Callers kept in memory; the one that was silent longest is forgotten first. */
const CALLERS = 10_000;

/** Who asks for what. */
export interface RateRequest {
  readonly endpointId: string;
  readonly keyId: string;
  readonly verb: string;
  /** Of RunPod's figures; 0 is no limit. */
  readonly factor: number;
  readonly runningWorkers: number;
}

/** Rate limits by endpoint, key and kind of request, in memory. */
export interface Rates {
  /** Counts a request; the function given ends it. Throws TOOMANYREQUESTS. */
  admit(request: RateRequest): () => void;
}

interface Counts {
  /** Requests by the second they came in. */
  readonly buckets: Map<number, number>;
  open: number;
}

export function createRates(clock: Clock): Rates {
  const callers = new Map<string, Counts>();
  const countsOf = (key: string): Counts => {
    const counts = callers.get(key) ?? { buckets: new Map(), open: 0 };
    // Moved to the end: the first one is the longest silent.
    callers.delete(key);
    callers.set(key, counts);
    const [oldest] = callers.keys();
    if (callers.size > CALLERS && oldest !== undefined) callers.delete(oldest);
    return counts;
  };
  return {
    admit: ({ endpointId, keyId, verb, factor, runningWorkers }) => {
      const group = GROUPS[verb];
      if (factor === 0 || group === undefined) return () => {};
      const now = clock.now();
      const counts = countsOf(`${endpointId} ${keyId} ${group}`);
      const rate = RATES[group];
      const allowed = Math.max(1, Math.floor(Math.max(rate.requests * factor, runningWorkers * PER_WORKER)));
      const openAllowed = Math.max(1, Math.floor(rate.open * factor));
      const recent = countRecent(counts.buckets, now);
      if (recent >= allowed) throw tooMany(verb, `${allowed} in ${WINDOW_MS / 1_000} s`);
      if (counts.open >= openAllowed) throw tooMany(verb, `${openAllowed} at once`);
      const bucket = Math.floor(now / BUCKET_MS);
      counts.buckets.set(bucket, (counts.buckets.get(bucket) ?? 0) + 1);
      counts.open++;
      return () => {
        counts.open--;
      };
    },
  };
}

/** A window that slides in steps of a bucket; older buckets are forgotten. */
function countRecent(buckets: Map<number, number>, now: number): number {
  let recent = 0;
  for (const [bucket, count] of buckets) {
    if (bucket * BUCKET_MS <= now - WINDOW_MS) buckets.delete(bucket);
    else recent += count;
  }
  return recent;
}

function tooMany(verb: string, limit: string): WherryError {
  return new WherryError('TOOMANYREQUESTS', `this key sent more /${verb} requests than ${limit}`, {
    hint: 'send fewer, or raise limits.rate of the endpoint',
  });
}
