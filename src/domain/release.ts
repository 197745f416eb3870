import { WherryError } from '../base/errors.js';
import type { Digest } from '../oci/digest.js';
import type { WorkerState } from './worker.js';

export const ROLLOUT_STATES = ['PROVING', 'CANARY', 'DONE', 'REVERTED'] as const;
export type RolloutState = (typeof ROLLOUT_STATES)[number];

/** The drawing is in docs/states.md. */
export const ROLLOUT_EDGES: Readonly<Record<RolloutState, readonly RolloutState[]>> = {
  PROVING: ['CANARY', 'DONE', 'REVERTED'],
  CANARY: ['DONE', 'REVERTED'],
  DONE: [],
  REVERTED: [],
};

/** What a release runs and how: together with the image, everything that never changes once stored. */
export interface ReleaseSpec {
  /** A value may hold references to secrets in place of them. */
  readonly env: Readonly<Record<string, string>>;
  /** Names of secrets that are variables of the same name, over those of `env`; sorted, absent: none. */
  readonly secrets?: readonly string[];
  /** Replaces the image's Cmd when given. */
  readonly args: readonly string[] | null;
  readonly ports: readonly string[];
  readonly resources: { readonly cpu?: number; readonly memoryBytes?: number; readonly diskBytes?: number; readonly gpu?: number | string };
  readonly volumes: readonly string[];
  /** `acme/tiny@main@COMMIT`: models that workers find on their disk; absent: none. */
  readonly models?: readonly string[];
  /** Nodes that will do; absent: any. */
  readonly placement?: {
    /** One version: it or a newer one. A list: one of these. */
    readonly cuda?: string | readonly string[];
    readonly labels?: Readonly<Record<string, string>>;
  };
  /** No capabilities and a root that cannot be written to; absent: false. */
  readonly isHardened?: boolean;
  /** Start to ready. */
  readonly initTimeoutMs: number;
}

/** Of each variable and argument of a worker: a zero byte would end it for the system. */
export const ARGUMENT_PATTERN = '^[^\\u0000]*$';

export const DEFAULT_SPEC: ReleaseSpec = { env: {}, args: null, ports: [], resources: {}, volumes: [], initTimeoutMs: 420_000 };

export interface ReleaseImage {
  /** As the author wrote it. */
  readonly reference: string;
  /** Repository in the embedded registry that holds every blob. */
  readonly repository: string;
  readonly tag: string | null;
  /** Digest of the platform's manifest: what runs. */
  readonly digest: Digest;
}

/** A release never changes once stored. */
export interface Release {
  readonly endpointId: string;
  /** From 1, per endpoint; shown `r17`. */
  readonly number: number;
  readonly createdAt: number;
  /** The key's name. */
  readonly author: string;
  /** `deploy`, `rollback:rN`, or `promote:ENDPOINT@rN`. */
  readonly source: string;
  readonly sourceRevision: string | null;
  readonly image: ReleaseImage;
  readonly spec: ReleaseSpec;
}

/** The move of an endpoint from one release to another; at most one is open (PROVING, CANARY) per endpoint. */
export interface Rollout {
  readonly endpointId: string;
  readonly from: number | null;
  readonly to: number;
  /** Percent of new jobs that `to` gets once it is proved; below 100 it is a canary then. */
  readonly share: number;
  readonly state: RolloutState;
  /** Why it was reverted, with the last log lines; or why the server itself began it. Null otherwise. */
  readonly reason: string | null;
  /** How long the proved candidate waits to be promoted; null: it does not wait. */
  readonly holdMs: number | null;
  /** When its candidate became ready. */
  readonly provedAt: number | null;
  readonly startedAt: number;
  readonly endedAt: number | null;
}

/** Which release of which endpoint; written `staging@r17`. */
export interface ReleaseName {
  readonly endpointId: string;
  readonly number: number;
}

/** A rollout and how far it is (`percentOnLatest`). */
export interface RolloutProgress extends Rollout {
  readonly percentOnLatest: number | null;
}

/** What a rollout is to become, decided with its release. */
export type RolloutPlan = Pick<Rollout, 'share' | 'holdMs' | 'reason'>;

/** A release serves as soon as it is proved. */
export const WHOLE_ROLLOUT: RolloutPlan = { share: 100, holdMs: null, reason: null };

/** How long a held candidate waits when nobody says: long enough for tests, short enough to free its place. */
export const HOLD_MS = 900_000;

/** How an open rollout goes on: one step further, back, or with another share of the jobs. */
export type RolloutStep =
  | { readonly action: 'promote' }
  | { readonly action: 'abort'; readonly reason: string }
  | { readonly action: 'share'; readonly share: number };

/** Whether a rollout has not ended. */
export function isOpen({ state }: Pick<Rollout, 'state'>): boolean {
  return state === 'PROVING' || state === 'CANARY';
}

/** ROLLOUT_OPEN: what no other release may begin beside. */
export function rolloutOpen({ endpointId, to, state, holdMs, provedAt }: Rollout): WherryError {
  const isHeld = holdMs !== null && provedAt !== null;
  const is = state === 'CANARY' ? 'is a canary' : isHeld ? 'waits to be promoted' : 'is still proving itself';
  const hint =
    state === 'CANARY' || isHeld ? '`wherry promote` or `wherry abort` ends that' : 'wait until it is done or reverted, then try again';
  return new WherryError('ROLLOUT_OPEN', `release ${formatRelease(to)} of '${endpointId}' ${is}`, { hint });
}

/** Nothing more happens to it by itself: it ended, is a canary, or its candidate waits to be promoted. */
export function isAtRest({ state, holdMs, provedAt }: Pick<Rollout, 'state' | 'holdMs'> & { readonly provedAt: unknown }): boolean {
  return state !== 'PROVING' || (holdMs !== null && provedAt !== null);
}

/**
 * How far an endpoint's newest rollout is: the percentage of its workers that run the new release. Without workers it is what the next
 * one would be: all of a release that serves, its share of a canary. Null when nothing moves to it (any more).
 */
export function percentOnLatest(
  { state, to, share }: Rollout,
  workers: readonly { readonly release: number; readonly isCandidate: boolean; readonly state?: WorkerState }[],
): number | null {
  if (state === 'REVERTED') return null;
  if (state === 'PROVING') return 0;
  // A throttled one runs nothing.
  const counted = workers.filter((worker) => !worker.isCandidate && worker.state !== 'THROTTLED');
  if (counted.length === 0) return state === 'CANARY' ? share : 100;
  return Math.round((counted.filter(({ release }) => release === to).length * 100) / counted.length);
}

/** The releases that get jobs: the active one, and a canary. */
export function servingReleases(activeRelease: number | null, newest: Pick<Rollout, 'state' | 'to'> | null): ReadonlySet<number> {
  return new Set([...(activeRelease === null ? [] : [activeRelease]), ...(newest?.state === 'CANARY' ? [newest.to] : [])]);
}

/** How far a rollout is. */
export type RolloutPlace = Pick<Rollout, 'to' | 'state' | 'share' | 'holdMs'> & {
  readonly provedAt: unknown;
  /** As {@link percentOnLatest} gives it. */
  readonly percentOnLatest: number | null;
};

/** Where a rollout is, in a few words: `r4 canary, 10 % of new jobs, 33 % of workers`. */
export function describeRollout({ to, state, share, holdMs, provedAt, percentOnLatest: percent }: RolloutPlace): string {
  const name = formatRelease(to);
  if (state === 'CANARY') return `${name} canary, ${share} % of new jobs${percent === null ? '' : `, ${percent} % of workers`}`;
  if (state === 'PROVING') return holdMs !== null && provedAt !== null ? `${name} waits for \`wherry promote\`` : `${name} proves itself`;
  return `${name} ${percent === null ? state : `on ${percent} % of workers`}`;
}

/** `r17` for 17. */
export function formatRelease(number: number): string {
  return `r${number}`;
}

/** `staging@r17`. */
export function formatReleaseName({ endpointId, number }: ReleaseName): string {
  return `${endpointId}@${formatRelease(number)}`;
}

/** Inverse of {@link formatReleaseName}; undefined for any other text, image references among them. */
export function parseReleaseName(text: string): ReleaseName | undefined {
  const [, endpointId, number] = /^([a-z0-9][a-z0-9-]*)@r([1-9]\d*)$/.exec(text) ?? [];
  return endpointId === undefined ? undefined : { endpointId, number: Number(number) };
}
