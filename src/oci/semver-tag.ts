/** A tag that is a semantic version (semver 2.0.0), with or without `v`. */
export interface SemverTag {
  readonly numbers: readonly [number, number, number];
  /** Identifiers of the pre-release; none for a release. */
  readonly preRelease: readonly string[];
}

const SEMVER = /^v?(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z.-]+))?$/;

/** The version that a tag names, or undefined. Build metadata cannot be in a tag. */
export function parseSemverTag(tag: string): SemverTag | undefined {
  const [, major, minor, patch, preRelease] = SEMVER.exec(tag) ?? [];
  if (major === undefined) return undefined;
  return { numbers: [Number(major), Number(minor), Number(patch)], preRelease: preRelease?.split('.') ?? [] };
}

/** Negative when `a` comes before `b` (semver §11): numbers, then a pre-release before its release. */
export function compareSemver(a: SemverTag, b: SemverTag): number {
  for (const part of [0, 1, 2] as const) if (a.numbers[part] !== b.numbers[part]) return a.numbers[part] - b.numbers[part];
  if (a.preRelease.length === 0 || b.preRelease.length === 0) return b.preRelease.length - a.preRelease.length;
  for (let part = 0; ; part += 1) {
    const [left, right] = [a.preRelease[part], b.preRelease[part]];
    if (left === undefined || right === undefined) return a.preRelease.length - b.preRelease.length;
    if (left !== right) return compareIdentifiers(left, right);
  }
}

/** Numbers by value and before words, words by bytes. */
function compareIdentifiers(left: string, right: string): number {
  const [a, b] = [left, right].map((text) => (/^\d+$/.test(text) ? Number(text) : undefined));
  if (a !== undefined && b !== undefined) return a - b;
  if (a !== undefined || b !== undefined) return a !== undefined ? -1 : 1;
  return left < right ? -1 : 1;
}
