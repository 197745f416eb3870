import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatDuration, formatSize, parseDuration, parseSize } from './units.js';

test.each([
  ['5s', 5_000],
  ['10m', 600_000],
  ['24h', 86_400_000],
  ['500ms', 500],
  ['1m30s', 90_000],
  ['1d2h3m4s5ms', 93_784_005],
  ['0s', 0],
])('reads the duration %s', (text, expected) => {
  expect(parseDuration(text)).toBe(expected);
});

test.each(['', '5', 's', '5 s', '-5s', '1.5s', '30s1m', '5s5s', '5S', '1w', '99999999999s'])("refuses '%s' as a duration", (text) => {
  expect(() => parseDuration(text)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
});

test.each([
  ['512MiB', 536_870_912],
  ['2GB', 2_000_000_000],
  ['1Gi', 1_073_741_824],
  ['3kB', 3_000],
  ['7B', 7],
])('reads the size %s', (text, expected) => {
  expect(parseSize(text)).toBe(expected);
});

test.each(['', '512', '512M', '1.5GB', 'MiB', '-1B', '1 GB', '1gb', '1GiBB'])("refuses '%s' as a size", (text) => {
  expect(() => parseSize(text)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
});

test('every duration is read back as written', () => {
  fc.assert(fc.property(fc.integer({ min: 0, max: 1e14 }), (durationMs) => parseDuration(formatDuration(durationMs)) === durationMs));
});

test('every size is read back as written', () => {
  fc.assert(fc.property(fc.integer({ min: 0, max: 1e14 }), (sizeBytes) => parseSize(formatSize(sizeBytes)) === sizeBytes));
});

test('the longest accepted duration is still an exact number', () => {
  expect(Number.isSafeInteger(parseDuration('9999999d999999999h999999999m999999999s999999999ms'))).toBe(true);
});
