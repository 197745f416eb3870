import type { Digest } from '../oci/digest.js';

export const ROLLOUT_STATES = ['PROVING', 'CANARY', 'DONE', 'REVERTED'] as const;
export type RolloutState = (typeof ROLLOUT_STATES)[number];

/** What a release runs and how: together with the image, everything that never changes once stored. */
export interface ReleaseSpec {
  readonly env: Readonly<Record<string, string>>;
  /** Replaces the image's Cmd when given. */
  readonly args: readonly string[] | null;
  readonly ports: readonly string[];
  readonly resources: { readonly cpu?: number; readonly memoryBytes?: number; readonly diskBytes?: number; readonly gpu?: number | string };
  readonly volumes: readonly string[];
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
  /** Percent of new work on `to`. */
  readonly share: number;
  readonly state: RolloutState;
  /** Why it was reverted, with the last log lines; null otherwise. */
  readonly reason: string | null;
  readonly startedAt: number;
  readonly endedAt: number | null;
}

/** Which release of which endpoint; written `staging@r17`. */
export interface ReleaseName {
  readonly endpointId: string;
  readonly number: number;
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
