import { WherryError } from '../base/errors.js';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Whole amounts, largest unit first, each unit at most once: `500ms`, `1m30s`, `24h`. Digits are bounded so that every sum is an exact number. */
export const DURATION_PATTERN = '^(?=.)(\\d{1,7}d)?(\\d{1,9}h)?(\\d{1,9}m)?(\\d{1,9}s)?(\\d{1,9}ms)?$';

const DURATION_UNITS = [
  ['d', DAY],
  ['h', HOUR],
  ['m', MINUTE],
  ['s', SECOND],
  ['ms', 1],
] as const;

/** Milliseconds of `5s`, `10m`, `24h`, `500ms`, `1m30s`. Throws CONFIG_INVALID. */
export function parseDuration(text: string): number {
  const [, ...amounts] =
    new RegExp(DURATION_PATTERN).exec(text) ?? refuse('duration', text, 'write a whole number and ms, s, m, h or d: 500ms, 5s, 1m30s');
  return DURATION_UNITS.reduce((sum, [, unitMs], index) => sum + Number.parseInt(amounts[index] ?? '0', 10) * unitMs, 0);
}

/** The shortest duration that {@link parseDuration} reads as `durationMs`: whole, not negative, milliseconds. */
export function formatDuration(durationMs: number): string {
  let rest = durationMs;
  let text = '';
  for (const [unit, unitMs] of DURATION_UNITS) {
    const amount = Math.floor(rest / unitMs);
    rest -= amount * unitMs;
    if (amount > 0) text += `${amount}${unit}`;
  }
  // A lone day reads better as hours: every page about time-outs speaks of 24h.
  return text === '' ? '0s' : text === '1d' ? '24h' : text;
}

const SIZE_UNITS = {
  TiB: 2 ** 40,
  TB: 1e12,
  GiB: 2 ** 30,
  GB: 1e9,
  MiB: 2 ** 20,
  MB: 1e6,
  KiB: 2 ** 10,
  KB: 1e3,
  B: 1,
} as const;

/** A whole amount of B, KB … TB (thousands) or KiB … TiB (1024s); `Gi` is `GiB`, `kB` is `KB`. `512M` alone is refused: tools disagree about it. */
export const SIZE_PATTERN = '^(\\d{1,15}B|\\d{1,12}(?:kB|KB|KiB?)|\\d{1,9}(?:MB|MiB?)|\\d{1,6}(?:GB|GiB?)|\\d{1,3}(?:TB|TiB?))$';

/** Bytes of `512MiB`, `2GB`, `1Gi`. Throws CONFIG_INVALID. */
export function parseSize(text: string): number {
  if (!new RegExp(SIZE_PATTERN).test(text)) refuse('size', text, 'write a whole number and its unit: 512MiB, 2GB, 1Gi');
  const [, amount = '', unit = ''] = /^(\d+)(\w+)$/.exec(text) ?? [];
  const name = unit.endsWith('i') ? `${unit}B` : unit.replace('kB', 'KB');
  return Number(amount) * SIZE_UNITS[name as keyof typeof SIZE_UNITS];
}

/** The size in the largest unit that holds `sizeBytes` exactly; inverse of {@link parseSize}. */
export function formatSize(sizeBytes: number): string {
  const [unit, factor] = Object.entries(SIZE_UNITS).find(([, size]) => sizeBytes >= size && sizeBytes % size === 0) ?? ['B', 1];
  return `${sizeBytes / factor}${unit}`;
}

function refuse(what: string, text: string, hint: string): never {
  throw new WherryError('CONFIG_INVALID', `'${text}' is not a ${what}`, { hint });
}
