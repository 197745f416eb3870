import { describe, expect, it } from 'vitest';
import { type Digest, digestOf } from '../oci/digest.js';
import { type Content, type Names, planCollection, type Rules } from './collect-plan.js';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const NOW = 1_000 * DAY;
const id = (name: string): Digest => digestOf(name);

interface Entry {
  readonly ageMs?: number;
  readonly tags?: readonly string[];
  readonly blobs?: readonly string[];
  readonly children?: readonly string[];
  readonly subject?: string;
  readonly isUnreadable?: boolean;
}

/** A repository of manifests by name; every blob that one names is linked, ten days ago. */
function namesOf(entries: Readonly<Record<string, Entry>>, looseBlobs: readonly string[] = []): Names {
  const list = Object.entries(entries);
  const contents = new Map<Digest, Content | undefined>(
    list.map(([name, { blobs = [`${name}-layer`], children = [], subject, isUnreadable }]) => [
      id(name),
      isUnreadable
        ? undefined
        : { blobs: blobs.map(id), manifests: children.map(id), subject: subject === undefined ? undefined : id(subject) },
    ]),
  );
  const blobs = [...new Set([...list.flatMap(([name, { blobs: own = [`${name}-layer`] }]) => own), ...looseBlobs])];
  return {
    contents,
    manifests: list.map(([name, { ageMs = 10 * DAY }]) => ({ digest: id(name), namedAt: NOW - ageMs })),
    tags: list.flatMap(([name, { tags = [], ageMs = 10 * DAY }]) => tags.map((tag) => ({ tag, digest: id(name), namedAt: NOW - ageMs }))),
    blobs: blobs.map((name) => ({ digest: id(name), namedAt: NOW - 10 * DAY })),
  };
}

function plan(names: Names, more: Partial<Rules> = {}) {
  const rules = {
    now: NOW,
    graceMs: HOUR,
    untaggedMs: 7 * DAY,
    keepTags: undefined,
    unusedMs: undefined,
    needed: new Set<Digest>(),
    isSpared: () => false,
  };
  const made = planCollection(names, { ...rules, ...more });
  if ('unreadable' in made) throw new Error(`unreadable ${made.unreadable}`);
  return { tags: made.tags.map(({ tag }) => tag), manifests: made.manifests, blobs: made.blobs, left: made.left };
}

describe('what a collection takes', () => {
  it('takes nothing of what a tag names, and everything of what nothing names', () => {
    const made = plan(namesOf({ tagged: { tags: ['v1'] }, lost: {} }, ['loose']));
    expect(made.manifests).toEqual([id('lost')]);
    expect(made.blobs).toEqual([id('lost-layer'), id('loose')]);
    expect([...made.left].sort()).toEqual([id('tagged'), id('tagged-layer')].sort());
  });

  it('keeps a blob that a manifest left shares with one that goes', () => {
    expect(plan(namesOf({ tagged: { tags: ['v1'], blobs: ['base'] }, lost: { blobs: ['base', 'own'] } })).blobs).toEqual([id('own')]);
  });

  it('keeps the manifests of a kept index, and takes an index before its manifests', () => {
    const names = { child: {}, index: { children: ['child', 'elsewhere'], blobs: [] } };
    expect(plan(namesOf({ ...names, index: { ...names.index, tags: ['v1'] } })).manifests).toEqual([]);
    expect(plan(namesOf(names)).manifests).toEqual([id('index'), id('child')]);
  });

  it('keeps what refers to a kept manifest, and takes it with a manifest that goes', () => {
    const names = { image: {}, sbom: { subject: 'image', ageMs: DAY }, signature: { subject: 'sbom', ageMs: DAY } };
    expect(plan(namesOf({ ...names, image: { tags: ['v1'] } })).manifests).toEqual([]);
    expect(plan(namesOf(names)).manifests).toEqual([id('image'), id('sbom'), id('signature')]);
  });

  it('keeps an untagged manifest for its time, also one that refers to what never came', () => {
    const names = namesOf({ young: { ageMs: 6 * DAY }, old: { ageMs: 8 * DAY }, orphan: { ageMs: 6 * DAY, subject: 'absent' } });
    expect(plan(names).manifests).toEqual([id('old')]);
    expect(plan(names, { untaggedMs: 0 }).manifests).toHaveLength(3);
  });

  it('keeps what kept releases run, whatever the rules say', () => {
    const made = plan(namesOf({ run: { tags: ['old'] }, index: { children: ['run'] } }), { keepTags: 0, needed: new Set([id('run')]) });
    expect(made).toMatchObject({ tags: [], manifests: [id('index')] });
    expect(made.left.has(id('run-layer'))).toBe(true);
    const index = { tags: ['old'], children: ['run', 'other'], blobs: [] };
    const whole = plan(namesOf({ run: {}, other: {}, index, sbom: { subject: 'other' } }), { keepTags: 0, needed: new Set([id('run')]) });
    expect(whole).toMatchObject({ tags: [], manifests: [], blobs: [] });
  });

  it('spares what is younger than an hour or was asked for, with the subject of what was just attached', () => {
    const names = namesOf({ image: {}, sbom: { subject: 'image', ageMs: HOUR / 2 } }, ['asked', 'loose']);
    const made = plan(names, { isSpared: (digest) => digest === id('asked') });
    expect(made.manifests).toEqual([]);
    expect(made.blobs).toEqual([id('loose')]);
  });

  it('takes nothing when a manifest that stays cannot be read, unlike one that goes', () => {
    const rules: Rules = {
      now: NOW,
      graceMs: HOUR,
      untaggedMs: 0,
      keepTags: undefined,
      unusedMs: undefined,
      needed: new Set(),
      isSpared: () => false,
    };
    expect(planCollection(namesOf({ a: { tags: ['v1'], isUnreadable: true }, lost: {} }), rules)).toEqual({ unreadable: id('a') });
    expect(planCollection(namesOf({ a: { tags: ['v1'] } }), { ...rules, needed: new Set([id('absent')]) })).toEqual({
      unreadable: id('absent'),
    });
    expect(plan(namesOf({ lost: { isUnreadable: true } })).manifests).toEqual([id('lost')]);
  });
});

describe('rules for tags', () => {
  const names = namesOf({
    a: { tags: ['1.0.0', 'v1.2.3-rc.1', 'nightly-1'], ageMs: 5 * DAY },
    b: { tags: ['nightly-2'], ageMs: 4 * DAY },
    c: { tags: ['nightly-3'], ageMs: 3 * DAY },
  });

  it('keep the last pushed ones, and semantic versions beside them', () => {
    expect(plan(names, { keepTags: 1 }).tags).toEqual(['nightly-2', 'nightly-1']);
    expect(plan(names, { keepTags: 3 }).tags).toEqual([]);
    expect(plan(names).tags).toEqual([]);
  });

  it('leave a manifest its time without a tag', () => {
    expect(plan(names, { keepTags: 1 }).manifests).toEqual([]);
    expect(plan(names, { keepTags: 1, untaggedMs: 0 }).manifests).toEqual([id('b')]);
  });
});
