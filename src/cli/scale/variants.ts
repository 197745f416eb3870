import type { EndpointSettings } from '../../domain/endpoint.js';
import { type Simulation, type SimulationPlan, simulateScale, type TracedRequest } from '../../domain/simulation.js';
import { formatDuration } from '../../project/units.js';
import type { ScaleChange } from './policy.js';

type Scale = EndpointSettings['scale'];

/** The settings that are compared: the first ones are the endpoint's own. */
export interface Variant {
  readonly name: string;
  readonly scale: Scale;
}

export interface Outcome extends Variant {
  readonly metrics: Metrics;
  readonly simulation: Simulation;
}

export interface Metrics {
  readonly requests: number;
  /** Not served by the end. */
  readonly left: number;
  /** Waited for a worker to start. */
  readonly coldStarts: number;
  readonly starts: number;
  readonly thaws: number;
  readonly workersPeak: number;
  /** Of workers that start, work or are idle. */
  readonly workerSeconds: number;
  readonly frozenSeconds: number;
  readonly delayMs: { readonly p50: number; readonly p95: number; readonly max: number };
  readonly queueMax: number;
}

export type Speeds = Pick<SimulationPlan, 'startMs' | 'thawMs' | 'stopMs'>;

/** The current settings, then each change of them. */
export function makeVariants(scale: Scale, changes: readonly ScaleChange[]): readonly Variant[] {
  const changed = changes.map((change) => ({ name: formatChange(change), scale: { ...scale, ...change } }));
  return [{ name: 'current', scale }, ...changed];
}

function formatChange(change: ScaleChange): string {
  return Object.entries(change)
    .map(([name, value]) => (name.endsWith('Ms') ? `${name.slice(0, -2)}=${formatDuration(Number(value))}` : `${name}=${value}`))
    .join(',');
}

/** A trace that is not served after this long is left so. */
const LONGEST_SILENCE_MS = 86_400_000;
const FIRST_SILENCE_MS = 60_000;

/** Replays the same requests under each of the settings, over the same time: until all serve them, if they do. */
export function compareVariants(variants: readonly Variant[], requests: readonly TracedRequest[], speeds: Speeds): readonly Outcome[] {
  const longestIdleMs = Math.max(...variants.map(({ scale }) => scale.idleMs));
  for (let silenceMs = FIRST_SILENCE_MS + longestIdleMs; ; silenceMs *= 4) {
    const outcomes = variants.map((variant) => {
      const simulation = simulateScale({
        requests,
        policy: variant.scale,
        ready: Math.min(variant.scale.min, variant.scale.max),
        silenceMs,
        ...speeds,
      });
      return { ...variant, simulation, metrics: measure(simulation) };
    });
    // One that is parked serves nobody however long it lasts.
    const isServed = outcomes.every(({ metrics, scale }) => metrics.left === 0 || scale.max === 0);
    if (isServed || silenceMs >= LONGEST_SILENCE_MS) return outcomes;
  }
}

function measure({ samples, starts, thaws, delaysMs, coldStarts, left, awakeMs, frozenMs }: Simulation): Metrics {
  const delays = delaysMs.toSorted((a, b) => a - b);
  const quantile = (share: number) => delays[Math.min(delays.length - 1, Math.floor(delays.length * share))] ?? 0;
  const most = (values: readonly number[]) => values.reduce((highest, value) => Math.max(highest, value), 0);
  return {
    requests: delays.length + samplesLeft(samples),
    left,
    coldStarts,
    starts: starts.length,
    thaws,
    workersPeak: most(samples.map(({ workers }) => workers)),
    workerSeconds: Math.round(awakeMs / 100) / 10,
    frozenSeconds: Math.round(frozenMs / 100) / 10,
    delayMs: { p50: quantile(0.5), p95: quantile(0.95), max: delays.at(-1) ?? 0 },
    queueMax: most(samples.map(({ queued }) => queued)),
  };
}

/** Requests that never got a worker. */
function samplesLeft(samples: Simulation['samples']): number {
  return samples.at(-1)?.queued ?? 0;
}

const ROWS: readonly (readonly [string, (outcome: Outcome) => string])[] = [
  ['min, max', ({ scale }) => `${scale.min}, ${scale.max}`],
  ['idle', ({ scale }) => formatDuration(scale.idleMs)],
  ['type, value', ({ scale }) => `${scale.type}, ${scale.value}`],
  ['extra, keep', ({ scale }) => `${scale.extra ?? 0}, ${scale.keep ?? 'freeze'}`],
  ['restAfter', ({ scale: { restAfterMs = 0 } }) => (restAfterMs === 0 ? 'never' : formatDuration(restAfterMs))],
  ['requests', ({ metrics }) => String(metrics.requests)],
  ['not served', ({ metrics }) => String(metrics.left)],
  ['cold starts', ({ metrics }) => String(metrics.coldStarts)],
  ['workers started', ({ metrics }) => String(metrics.starts)],
  ['workers thawed', ({ metrics }) => String(metrics.thaws)],
  ['workers at most', ({ metrics }) => String(metrics.workersPeak)],
  ['worker-seconds', ({ metrics }) => metrics.workerSeconds.toFixed(1)],
  ['frozen seconds', ({ metrics }) => metrics.frozenSeconds.toFixed(1)],
  ['delay p50', ({ metrics }) => `${metrics.delayMs.p50} ms`],
  ['delay p95', ({ metrics }) => `${metrics.delayMs.p95} ms`],
  ['delay max', ({ metrics }) => `${metrics.delayMs.max} ms`],
  ['longest queue', ({ metrics }) => String(metrics.queueMax)],
];

/** One row a setting or figure, one column a variant. */
export function tabulate(outcomes: readonly Outcome[]): readonly (readonly string[])[] {
  return ROWS.map(([title, cell]) => [title, ...outcomes.map(cell)]);
}
