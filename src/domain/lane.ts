import type { EndpointSettings } from './endpoint.js';

/**
 * The part of an endpoint's queue that a worker takes from: `all` of it; while a release is a canary the jobs that are the `canary`'s, or
 * the `stable` rest; or only jobs that are `pinned` to the worker's release, which every worker takes besides.
 */
const LANES = ['all', 'stable', 'canary', 'pinned'] as const;
export type Lane = (typeof LANES)[number];

/** Which releases of an endpoint get jobs. */
export interface Routing {
  readonly activeRelease: number | null;
  readonly canary: { readonly release: number; readonly share: number } | null;
}

/** A release that does not serve, or has yet to be proved, gets only what is pinned to it. */
export function laneOf(
  { release, isCandidate }: { readonly release: number; readonly isCandidate: boolean },
  { activeRelease, canary }: Routing,
): Lane {
  if (isCandidate) return 'pinned';
  if (activeRelease === null) return 'all';
  if (canary?.release === release) return 'canary';
  if (activeRelease !== release) return 'pinned';
  return canary ? 'stable' : 'all';
}

/** 2^32 divided by the golden ratio. */
const GOLDEN = 2_654_435_769;
const PLACES = 2 ** 24;

/**
 * Whether the job at a place of the queue (from 1, in the order of submission over all endpoints) belongs to a canary of that share.
 * Multiples of the golden ratio spread evenly: any stretch of jobs, and any regular part of it, has about the share. A larger share
 * keeps the jobs of a smaller one. A job that lost a worker is not the canary's any more, whatever its place.
 */
export function isCanaryPlace(place: number, share: number): boolean {
  return Math.floor(((Math.imul(place % PLACES, GOLDEN) >>> 0) * 100) / 2 ** 32) < share;
}

/** The same of the SQL expressions `place` and `share`: whole numbers of 64 bits. */
export function sqlOfCanaryPlace(place: string, share: string): string {
  return `(((((${place}) & ${PLACES - 1}) * ${GOLDEN} & 4294967295) * 100) >> 32) < ${share}`;
}

type Scale = EndpointSettings['scale'];

/**
 * The canary's part of an endpoint's workers: its share of them, but at least one, and one left to the stable release. With a max of 1 each
 * has one, so that there is one worker above max while the canary lasts.
 */
export function scaleOfCanary(scale: Scale, share: number): Scale {
  if (scale.max === 0) return scale;
  const part = (count: number, most: number) => Math.min(Math.max(1, Math.round((count * share) / 100)), most);
  const max = part(scale.max, Math.max(1, scale.max - 1));
  return { ...scale, max, min: scale.min === 0 ? 0 : part(scale.min, max) };
}

/** What is left to the stable release while the canary has, or wants, so many workers. */
export function scaleOfStable(scale: Scale, canary: { readonly min: number; readonly workers: number }): Scale {
  const least = (count: number) => Math.min(1, count);
  const max = Math.max(least(scale.max), scale.max - canary.workers);
  return { ...scale, max, min: Math.min(max, Math.max(least(scale.min), scale.min - canary.min)) };
}

/**
 * Places of the canary's that other workers still hold, because they are at work. Its first worker does not wait for one: it may stand
 * above max, as the candidate did.
 */
export function placesHeld(
  { max, canaryMax }: { readonly max: number; readonly canaryMax: number },
  { others, canary }: { readonly others: number; readonly canary: number },
): number {
  const held = Math.max(0, others - (max - canaryMax));
  return canary === 0 ? Math.min(held, Math.max(0, canaryMax - 1)) : held;
}
