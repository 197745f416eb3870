import fc from 'fast-check';
import { expect, it } from 'vitest';
import { compareVersionTags, parseVersionTag, type VersionTag } from './semver-tag.js';

const parse = (tag: string): VersionTag => {
  const version = parseVersionTag(tag);
  if (!version) throw new Error(`'${tag}' is no version`);
  return version;
};

it('takes whole versions only', () => {
  for (const tag of ['1.2.3', 'v0.0.0', '1.0.0-rc.1', '1.0.0-0.3.7', '1.0.0-x-y.z', '99999999999999999999.0.0']) {
    expect(parseVersionTag(tag)?.tag).toBe(tag);
  }
  for (const tag of ['1.2', '1', 'latest', 'v1', '1.2.3.4', '01.2.3', '1.2.3-', '1.2.3-01', '1.2.3-a..b', 'sha-1.2.3', '1.2.3_a', '']) {
    expect(parseVersionTag(tag), tag).toBeUndefined();
  }
});

it('orders versions as the specification does', () => {
  const ordered = [
    '1.0.0-alpha',
    '1.0.0-alpha.1',
    '1.0.0-alpha.beta',
    '1.0.0-beta',
    '1.0.0-beta.2',
    '1.0.0-beta.11',
    '1.0.0-rc.1',
    '1.0.0',
  ];
  const all = [...ordered, 'v1.0.1', '1.9.0', '1.10.0', '2.0.0'];
  expect(
    [...all]
      .reverse()
      .map(parse)
      .sort(compareVersionTags)
      .map(({ tag }) => tag),
  ).toEqual(all);
});

it('is an order', () => {
  const identifier = fc.oneof(fc.nat(20).map(String), fc.constantFrom('a', 'b', 'rc', '-', 'A'));
  const tag = fc
    .tuple(fc.nat(3), fc.nat(3), fc.nat(3), fc.array(identifier, { maxLength: 3 }))
    .map(([major, minor, patch, rest]) => parse(`${major}.${minor}.${patch}${rest.length === 0 ? '' : `-${rest.join('.')}`}`));
  fc.assert(
    fc.property(tag, tag, tag, (a, b, c) => {
      expect(Math.sign(compareVersionTags(a, b))).toBe(-Math.sign(compareVersionTags(b, a)) + 0);
      expect(compareVersionTags(a, b) === 0).toBe(a.tag === b.tag);
      if (compareVersionTags(a, b) <= 0 && compareVersionTags(b, c) <= 0) expect(compareVersionTags(a, c)).toBeLessThanOrEqual(0);
    }),
  );
});
