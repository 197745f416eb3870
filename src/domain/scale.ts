import type { EndpointSettings } from './endpoint.js';

/** What the scaler sees of an endpoint at one moment. Workers of an outgoing release and candidates are not in it. */
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
  /** Workers that are being stopped but still exist. */
  readonly stopping: number;
}

export interface ScaleDecision {
  /** Workers wanted, within min and max. */
  readonly wanted: number;
  /** How many to start now; never more than fit below max together with those that still stop. */
  readonly start: number;
  readonly reason: string;
}

type Policy = EndpointSettings['scale'];

/**
 * How many workers an endpoint wants (endpoint-settings: queue delay, request count). A starting worker counts as
 * capacity, so there are no start storms. Never decides to stop a worker: that is {@link decideRest}.
 */
export function decideScale(sample: ScaleSample, policy: Policy, now: number): ScaleDecision {
  const have = sample.starting + sample.ready;
  const { count, reason } = policy.type === 'requestCount' ? byRequests(sample, policy) : byDelay(sample, policy, now);
  const wanted = Math.min(policy.max, Math.max(policy.min, count));
  const room = Math.max(0, policy.max - have - sample.stopping);
  const start = Math.min(Math.max(0, wanted - have), room);
  if (wanted > have && start === 0) return { wanted, start, reason: `${reason}, but old workers are still stopping` };
  if (count > policy.max) return { wanted, start, reason: `${reason}, held at max ${policy.max}` };
  return { wanted, start, reason: count < policy.min ? `min is ${policy.min}` : reason };
}

function byRequests({ queued, inProgress }: ScaleSample, { value }: Policy) {
  return { count: Math.ceil((queued + inProgress) / value), reason: `${queued} queued and ${inProgress} running, ${value} a worker` };
}

function byDelay({ queued, oldestQueuedAt, starting, ready }: ScaleSample, { value }: Policy, now: number) {
  const have = starting + ready;
  if (queued === 0 || oldestQueuedAt === null) return { count: have, reason: 'nothing waits' };
  if (have === 0) return { count: 1, reason: 'a job waits and no worker exists' };
  const waitedMs = now - oldestQueuedAt;
  if (waitedMs <= value * 1000) return { count: have, reason: `the oldest job waits ${waitedMs} ms, up to ${value} s is accepted` };
  if (starting > 0) return { count: have, reason: 'a worker is starting already' };
  return { count: have + 1, reason: `the oldest job waits ${waitedMs} ms, longer than ${value} s` };
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
