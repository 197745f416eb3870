import { describe, expect, it } from 'vitest';
import { DEFAULT_SPEC } from '../domain/release.js';
import { digestOf } from '../oci/digest.js';
import { describeChanges, readRelease, readShare } from './release-text.js';

const contentOf = (image: string, spec = {}) => ({
  image: { reference: image, repository: image, tag: null, digest: digestOf(image) },
  spec: { ...DEFAULT_SPEC, ...spec },
});

describe('what changes between two releases', () => {
  it('is named without values', () => {
    const before = contentOf('a', { env: { A: 'hidden', B: '1', G: '' }, secrets: ['D', 'E'], args: ['x'], resources: { cpu: 1 } });
    const after = contentOf('b', {
      env: { A: 'other', C: '1' },
      secrets: ['E', 'F', 'G'],
      volumes: ['v:/v'],
      initTimeoutMs: 1,
      isHardened: true,
    });
    const changes = describeChanges(before, after);
    expect(changes).toEqual([
      `image ${digestOf('a').slice(7, 19)} → ${digestOf('b').slice(7, 19)}`,
      'env ~A -B +C -D +F ~G',
      'args',
      'resources',
      'volumes',
      'hardened',
      'limits.init',
    ]);
    expect(changes.join()).not.toMatch(/hidden|other/);
  });

  it('is nothing between equal ones', () => {
    expect(describeChanges(contentOf('a'), contentOf('a'))).toEqual([]);
  });
});

describe('what people write', () => {
  it('is read as a release or a share', () => {
    expect([readRelease('r3'), readRelease('3'), readShare('10'), readShare('10%'), readShare(undefined)]).toEqual([
      3,
      3,
      10,
      10,
      undefined,
    ]);
  });

  it.each(['r0', 'x', '1.5', ''])('is refused as a release: %j', (text) => {
    expect(() => readRelease(text)).toThrow('is not a release');
  });

  it.each(['0', '100', '1.5', 'x', ''])('is refused as a share: %j', (text) => {
    expect(() => readShare(text)).toThrow('is not a share');
  });
});
