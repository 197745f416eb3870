import type { JobPriority } from './job.js';
import { formatRelease } from './release.js';

/** Why a queued job waits (extension B1). One word a reason, the same in API, console and CLI. */
export const WAIT_REASONS = [
  'no-release',
  'paused',
  'parked',
  'pinned',
  'no-capacity',
  'crash-looping',
  'pulling',
  'starting',
  'stopping',
  'at-max-workers',
  'low-priority',
  'next',
] as const;
export type WaitReason = (typeof WAIT_REASONS)[number];

/** The answer to "why is my job queued": what holds it, since when, what shows it, what to do. Moments in milliseconds. */
export interface Waiting {
  readonly reason: WaitReason;
  readonly since: number;
  /** What was seen: counts, exit code, last log line. */
  readonly evidence: string;
  /** One sentence for the person who waits. */
  readonly next: string;
}

/** What is known of an endpoint at the moment somebody asks. */
export interface WaitSample {
  readonly priority: JobPriority;
  readonly queuedAt: number;
  /** Jobs that wait, this one too. */
  readonly queued: number;
  readonly hasRelease: boolean;
  /** A release that was never active is being proved. */
  readonly isProving: boolean;
  readonly pausedReason: string | null;
  /** Why the runtime cannot start workers now; null while it can. */
  readonly outage: string | null;
  readonly max: number;
  /** Live workers that may serve, by what they do; `startedAt` of the oldest that starts. */
  readonly starting: number;
  readonly startingSince: number | null;
  readonly busy: number;
  readonly idle: number;
  /** Frozen ones that are being woken. */
  readonly thawing: number;
  readonly stopping: number;
  /** Workers that are wanted and have no room, since when the first of them, and what it waits for; null without any. */
  readonly throttled: { readonly count: number; readonly since: number; readonly lack: string } | null;
  /** After crashes the next start waits until then; 0 when it does not. */
  readonly nextStartAt: number;
  /** The release that the job is pinned to, with its workers, when it is not the one that serves. */
  readonly pinned: { readonly release: number; readonly workers: number; readonly busy: number } | null;
  /** Of `starting`, those whose image is not there yet. */
  readonly pulling: number;
  /** What the runtime said last about the oldest that starts, for instance how far its image is. */
  readonly startingNote: string | null;
  /** Workers in a row that ended without finishing a job. */
  readonly crashes: number;
  /** The newest worker that ended by itself, with its last lines; `isStarted` is false when the runtime could not start it. */
  readonly lastCrash: {
    readonly at: number;
    readonly reason: string;
    readonly isStarted: boolean;
    readonly lines: readonly string[];
  } | null;
}

/** So many last lines of a worker are evidence enough for a job that waits. */
const SHOWN_LINES = 5;
/** One crash may have any cause; from the second in a row on it is said of whoever waits. */
const LOOPING = 2;

/** The first thing that holds the job, the one that no other change would help against first. */
export function explainWait(sample: WaitSample, now: number): Waiting {
  const { queuedAt: since, max, busy, idle, starting, stopping } = sample;
  const said = (reason: WaitReason, evidence: string, next: string, at = since): Waiting => ({ reason, since: at, evidence, next });
  const last = formatLastCrash(sample.lastCrash);
  if (sample.pausedReason !== null) return said('paused', sample.pausedReason, 'mend the cause, then deploy again or resume the endpoint');
  if (!sample.hasRelease && !sample.isProving) return said('no-release', `no release serves${last}`, 'deploy an image to the endpoint');
  if (max === 0) return said('parked', 'scale.max is 0', 'set scale.max to 1 or more');
  if (sample.pinned !== null) return explainPinned(sample.pinned, said);
  if (sample.outage !== null && busy + idle + starting === 0)
    return said(
      'no-capacity',
      `no worker can be started: ${sample.outage}`,
      'it is tried again by itself; `wherry doctor` looks at runtimes and engines',
    );
  if (sample.thawing > 0 && busy + idle === 0)
    return said('starting', 'a frozen worker is being woken', 'nothing to do, it is served within a moment');
  const isPausing = sample.nextStartAt > now && starting === 0;
  if (busy + idle === 0 && (isPausing || sample.crashes >= LOOPING)) {
    const { evidence, next } = explainCrashes(sample, isPausing ? sample.nextStartAt - now : 0);
    const isUnstarted = sample.lastCrash?.isStarted === false;
    return said(isUnstarted ? 'no-capacity' : 'crash-looping', evidence, next, sample.lastCrash?.at);
  }
  if (sample.throttled !== null && starting + idle === 0) {
    const { count, lack } = sample.throttled;
    return said(
      'no-capacity',
      `${count} ${count === 1 ? 'worker is' : 'workers are'} wanted and without room: ${lack}; ${busy} are busy`,
      'it is served once there is room; `wherry status --json` shows what the host has',
      sample.throttled.since,
    );
  }
  if (starting > 0 && busy + idle === 0) {
    const reason = sample.pulling === starting ? 'pulling' : 'starting';
    const note = sample.startingNote === null ? '' : `: ${sample.startingNote}`;
    const next = 'nothing to do, it is served once a worker is ready';
    const who = starting === 1 ? '1 worker starts and is' : `${starting} workers start and are`;
    return said(reason, `${who} not ready yet${note}${last}`, next, sample.startingSince ?? since);
  }
  if (stopping > 0 && busy + idle + starting === 0)
    return said('stopping', `${stopping} old ones still stop`, 'new workers start when they are gone');
  if (busy > 0 && busy + idle + starting + stopping >= max) {
    return said(
      'at-max-workers',
      `${busy} of at most ${max} workers are busy, ${sample.queued} jobs wait`,
      'raise scale.max to serve more at once',
    );
  }
  if (sample.priority === 'low' && busy + idle + starting === 0) {
    return said('low-priority', 'no worker runs, and a job of low priority starts none', 'it runs when a worker has nothing else to do');
  }
  return said(
    'next',
    `${sample.queued} jobs wait, ${busy} workers are busy, ${idle} idle, ${starting} starting`,
    'nothing to do, it is served next',
  );
}

type Said = (reason: WaitReason, evidence: string, next: string) => Waiting;

function explainPinned({ release, workers, busy }: NonNullable<WaitSample['pinned']>, said: Said): Waiting {
  const evidence = `it runs on ${formatRelease(release)} only, which has ${workers} workers, ${busy} of them busy`;
  return said(
    'pinned',
    evidence,
    workers === 0 ? 'nothing to do, a worker is started for it' : 'nothing to do, it is served once one is free',
  );
}

function explainCrashes({ crashes, lastCrash, starting }: WaitSample, waitMs: number): Pick<Waiting, 'evidence' | 'next'> {
  const next = starting > 0 ? 'one starts now' : `the next one starts in ${waitMs} ms`;
  if (lastCrash?.isStarted === false)
    return {
      evidence: `no worker can be started: ${lastCrash.reason}`,
      next: starting > 0 ? 'it is tried now' : `the next try is in ${waitMs} ms`,
    };
  const count = crashes > 1 ? `${crashes} workers in a row` : 'a worker';
  return { evidence: `${count} ended without finishing a job${formatLastCrash(lastCrash)}`, next: `${next}; see the logs` };
}

function formatLastCrash(crash: WaitSample['lastCrash']): string {
  if (crash === null) return '';
  return `; the last worker: ${crash.reason}${crash.lines
    .slice(-SHOWN_LINES)
    .map((line) => `\n  ${line}`)
    .join('')}`;
}
