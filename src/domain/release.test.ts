import { describe, expect, it } from 'vitest';
import { describeRollout, formatReleaseName, isAtRest, parseReleaseName, percentOnLatest, type Rollout } from './release.js';

it('reads the name of a release as it is written, and takes nothing else for one', () => {
  const name = { endpointId: 'staging-2', number: 17 };
  expect(formatReleaseName(name)).toBe('staging-2@r17');
  expect(parseReleaseName('staging-2@r17')).toEqual(name);
  for (const text of ['staging', 'r17', 'staging@17', 'staging@r0', 'staging@r1x', 'acme/app@r1', `app@sha256:${'a'.repeat(64)}`])
    expect(parseReleaseName(text), text).toBeUndefined();
});

const rollout: Rollout = {
  endpointId: 'e',
  from: 1,
  to: 2,
  share: 20,
  state: 'DONE',
  reason: null,
  holdMs: null,
  provedAt: 5,
  startedAt: 0,
  endedAt: 5,
};
const workers = (...releases: readonly number[]) => releases.map((release) => ({ release, isCandidate: false }));

describe('percentOnLatest', () => {
  it.each([
    ['all once no other worker is left', {}, workers(2, 2), 100],
    ['the part that runs the new release', {}, workers(1, 2, 1), 33],
    ['all of a release that serves without workers', {}, [], 100],
    ['the share of a canary without workers', { state: 'CANARY' }, [], 20],
    ['the part of a canary', { state: 'CANARY' }, workers(1, 1, 1, 2), 25],
    ['nothing while it proves itself', { state: 'PROVING' }, workers(1), 0],
    ['not known once it was taken back', { state: 'REVERTED' }, workers(1), null],
    ['without candidates', {}, [...workers(2), { release: 1, isCandidate: true }], 100],
  ] as const)('is %s (row 19)', (_title, change, live, percent) => {
    expect(percentOnLatest({ ...rollout, ...change }, live)).toBe(percent);
  });
});

describe('a rollout', () => {
  it.each([
    ['goes on while it proves itself', { state: 'PROVING', provedAt: null }, false],
    ['goes on when its candidate is ready and nobody holds it', { state: 'PROVING', provedAt: 1 }, false],
    ['goes on while what is held is not ready', { state: 'PROVING', holdMs: 9, provedAt: null }, false],
    ['rests when what is held is ready', { state: 'PROVING', holdMs: 9, provedAt: 1 }, true],
    ['rests as a canary', { state: 'CANARY' }, true],
    ['rests at its end', { state: 'REVERTED' }, true],
  ] as const)('%s', (_title, change, isResting) => {
    expect(isAtRest({ ...rollout, ...change })).toBe(isResting);
  });
});

describe('a rollout in a few words', () => {
  const rollout = { to: 2, share: 100 };
  it.each([
    ['r2 proves itself', { state: 'PROVING', holdMs: null, provedAt: null, percentOnLatest: 0 }],
    ['r2 waits for `wherry promote`', { state: 'PROVING', holdMs: 9, provedAt: 'x', percentOnLatest: 0 }],
    ['r2 canary, 10 % of new jobs, 33 % of workers', { state: 'CANARY', share: 10, holdMs: null, provedAt: 'x', percentOnLatest: 33 }],
    ['r2 on 50 % of workers', { state: 'DONE', holdMs: null, provedAt: 'x', percentOnLatest: 50 }],
  ] as const)('is %s', (text, change) => {
    expect(describeRollout({ ...rollout, ...change })).toBe(text);
  });
});
