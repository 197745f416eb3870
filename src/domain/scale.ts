import { countPolicy, describeRest } from './at-rest.js';
import type { EndpointSettings } from './endpoint.js';

/** What the scaler sees of an endpoint at one moment. Workers of an outgoing release, candidates and throttled ones are not in it. */
export interface ScaleSample {
  /** Queued jobs of normal priority; low priority never starts workers. */
  readonly queued: number;
  readonly inProgress: number;
  /** When the oldest of `queued` was submitted; null when none waits. */
  readonly oldestQueuedAt: number | null;
  /** Workers that start. */
  readonly starting: number;
  /** Workers that are ready: idle, running or frozen. */
  readonly ready: number;
  /** Of `ready`, those that have a job. */
  readonly busy: number;
  /** When the last of those that are idle ended a job; null when none of them did. */
  readonly workedAt: number | null;
  /** Workers that are being stopped but still exist. */
  readonly stopping: number;
  /** When the last request of any priority came; the moment itself while one waits. */
  readonly requestedAt: number;
}

/** Which rule gave the number of wanted workers. */
export const SCALE_RULES = [
  'requests',
  'quiet',
  'first',
  'within-delay',
  'starting',
  'delayed',
  'extra',
  'min',
  'rest',
  'max',
  'stopping',
] as const;
export type ScaleRule = (typeof SCALE_RULES)[number];

export interface ScaleDecision {
  /** Workers wanted, within min and max. */
  readonly wanted: number;
  /** Of `wanted`, those for the queue and for min; the others are held ready (extra). */
  readonly needed: number;
  /** So many stay however long they are idle. */
  readonly floor: number;
  /** How many to start now; never more than fit below max together with those that still stop. */
  readonly start: number;
  readonly rule: ScaleRule;
  readonly reason: string;
}

/** An endpoint is looked at when something happens, never closer together than `pace`, and each `tick` while it has workers or jobs. Milliseconds. */
export const LOOK_MS = { pace: 20, tick: 500 } as const;

type Policy = EndpointSettings['scale'];
type Count = { readonly count: number; readonly rule: ScaleRule; readonly reason: string };

/**
 * How many workers an endpoint wants (endpoint-settings: queue delay, request count). A starting worker counts as
 * capacity, so there are no start storms. At rest, min and extra count as 0. Never decides to stop a worker: that is {@link decideRest}.
 */
export function decideScale(sample: ScaleSample, settings: Policy, now: number): ScaleDecision {
  const policy = countPolicy(sample, settings, now);
  const have = sample.starting + sample.ready;
  const asked = policy.type === 'requestCount' ? byRequests(sample, policy) : byDelay(sample, policy, now);
  const within = (count: number) => Math.min(policy.max, Math.max(policy.min, count));
  const needed = within(asked.count);
  const buffered = countBuffered(sample, policy, { now, asked: asked.count });
  const wanted = Math.max(needed, within(buffered));
  const floor = Math.max(policy.min, Math.min(policy.max, buffered));
  const room = Math.max(0, policy.max - have - sample.stopping);
  const start = Math.min(Math.max(0, wanted - have), room);
  const isHolding = settings.min > 0 || countBuffered(sample, settings, { now, asked: asked.count }) > 0;
  const rest = policy !== settings && isHolding ? describeRest(settings, sample, now) : null;
  return { wanted, needed, floor, start, ...explain({ asked, policy, wanted, needed, rest, isHeld: wanted > have && start === 0 }) };
}

/**
 * With `extra`, so many workers more than work: from the first job on, until nothing worked for the idle time. Without work there are none,
 * so that an endpoint goes to zero all the same.
 */
function countBuffered(
  { queued, busy, starting, ready, workedAt }: ScaleSample,
  { extra = 0, type, idleMs }: Policy,
  { now, asked }: { readonly now: number; readonly asked: number },
): number {
  const hasWork = queued > 0 || busy > 0 || (workedAt !== null && now - workedAt < idleMs);
  if (extra === 0 || !hasWork || asked + starting + ready === 0) return 0;
  return (type === 'requestCount' ? asked : Math.max(busy, Math.min(queued, 1))) + extra;
}

interface Outcome {
  readonly asked: Count;
  readonly policy: Policy;
  readonly wanted: number;
  readonly needed: number;
  /** More are wanted than there are, but none may start yet. */
  readonly isHeld: boolean;
  /** Why min and extra do not count; null while they do. */
  readonly rest: string | null;
}

function explain({ asked, policy, wanted, needed, isHeld, rest }: Outcome): Pick<ScaleDecision, 'rule' | 'reason'> {
  const { count, rule, reason } = asked;
  if (isHeld) return { rule: 'stopping', reason: `${reason}, but old workers are still stopping` };
  if (count > policy.max) return { rule: 'max', reason: `${reason}, held at max ${policy.max}` };
  if (rest !== null) return { rule: 'rest', reason: rest };
  if (wanted > needed) return { rule: 'extra', reason: `${reason}; ${policy.extra ?? 0} extra are held ready` };
  return count < policy.min ? { rule: 'min', reason: `min is ${policy.min}` } : { rule, reason };
}

function byRequests({ queued, inProgress }: ScaleSample, { value }: Policy): Count {
  const reason = `${queued} queued and ${inProgress} running, ${value} a worker`;
  return { count: Math.ceil((queued + inProgress) / value), rule: 'requests', reason };
}

function byDelay({ queued, oldestQueuedAt, starting, ready }: ScaleSample, { value }: Policy, now: number): Count {
  const have = starting + ready;
  if (queued === 0 || oldestQueuedAt === null) return { count: have, rule: 'quiet', reason: 'nothing waits' };
  if (have === 0) return { count: 1, rule: 'first', reason: 'a job waits and no worker exists' };
  const waitedMs = now - oldestQueuedAt;
  if (waitedMs <= value * 1000) {
    return { count: have, rule: 'within-delay', reason: `the oldest job waits ${waitedMs} ms, up to ${value} s is accepted` };
  }
  if (starting > 0) return { count: have, rule: 'starting', reason: 'a worker is starting already' };
  return { count: have + 1, rule: 'delayed', reason: `the oldest job waits ${waitedMs} ms, longer than ${value} s` };
}

/** A worker as the decision over workers without work sees it. */
export interface IdleView {
  readonly id: string;
  /** Null while it has a job, starts or is frozen. */
  readonly idleSince: number | null;
  /** Starting workers can be stopped only when there are more than max. */
  readonly isStarting: boolean;
  /** Null while it is not. */
  readonly frozenAt: number | null;
  /** What may become of it when its time is over; `wait`: nothing yet. A frozen one whose endpoint keeps none has `stop`. */
  readonly rest: 'freeze' | 'stop' | 'wait';
}

/** Ids of workers to stop and to freeze. */
export interface RestDecision {
  readonly stop: readonly string[];
  readonly freeze: readonly string[];
}

/**
 * What becomes of workers without work. Above max go first the starting ones, then the longest frozen, then the longest idle. Those idle
 * longer than the idle time-out are frozen or stopped, down to min workers that are awake.
 */
export function decideRest(workers: readonly IdleView[], policy: Policy, now: number): RestDecision {
  const frozen = workers.filter(({ frozenAt }) => frozenAt !== null).sort((a, b) => (a.frozenAt ?? 0) - (b.frozenAt ?? 0));
  const idle = workers
    .filter(({ isStarting, idleSince }) => !isStarting && idleSince !== null)
    .sort((a, b) => (a.idleSince ?? 0) - (b.idleSince ?? 0));
  const excess = Math.max(0, workers.length - policy.max);
  const surplus = [...workers.filter(({ isStarting }) => isStarting), ...frozen, ...idle].slice(0, excess);
  const stays = (worker: IdleView) => !surplus.includes(worker);
  const awake = workers.filter((worker) => worker.frozenAt === null && stays(worker)).length;
  const expired = idle
    .filter((worker) => stays(worker) && worker.rest !== 'wait' && now - (worker.idleSince ?? now) >= policy.idleMs)
    .slice(0, Math.max(0, awake - policy.min));
  const ended = [...frozen.filter(stays), ...expired].filter(({ rest }) => rest === 'stop');
  return {
    stop: [...surplus, ...ended].map(({ id }) => id),
    freeze: expired.filter(({ rest }) => rest === 'freeze').map(({ id }) => id),
  };
}
