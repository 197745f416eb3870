import { describe, expect, it } from 'vitest';
import { compareSemver, parseSemverTag, type SemverTag } from './semver-tag.js';

describe('a tag', () => {
  it('is a version when it has three numbers, with or without v', () => {
    for (const tag of ['1.2.3', 'v1.2.3', '0.0.1-rc.1']) expect(parseSemverTag(tag), tag).toBeDefined();
    for (const tag of ['latest', '1.2', '01.2.3', '1.2.3.4', 'sha-0123abcd', '1.2.3-']) expect(parseSemverTag(tag), tag).toBeUndefined();
  });

  it('is ordered as semver 2.0.0 §11 has it', () => {
    const sorted = [
      '1.0.0-alpha',
      '1.0.0-alpha.1',
      '1.0.0-alpha.beta',
      '1.0.0-beta',
      '1.0.0-beta.2',
      '1.0.0-beta.11',
      '1.0.0-rc.1',
      '1.0.0',
      '1.2.0',
      '1.10.0',
    ];
    const shuffled = [...sorted].reverse().map((tag) => ({ tag, version: parseSemverTag(tag) as SemverTag }));
    expect(shuffled.sort((a, b) => compareSemver(a.version, b.version)).map(({ tag }) => tag)).toEqual(sorted);
  });
});
