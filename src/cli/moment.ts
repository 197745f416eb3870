import { WherryError } from '../base/errors.js';
import { parseDuration } from '../project/units.js';

/** The RFC 3339 moment of a text: one, or how long ago (`10m`). Throws USAGE. */
export function readMoment(option: string, text: string, now: number): string {
  const at = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : now - durationOf(text);
  if (!Number.isNaN(at)) return new Date(at).toISOString();
  throw new WherryError('USAGE', `--${option} '${text}' is not a time`, {
    hint: 'write how long ago, for instance 10m or 2h, or a moment such as 2026-01-31T12:00:00Z',
  });
}

function durationOf(text: string): number {
  try {
    return parseDuration(text);
  } catch {
    return Number.NaN;
  }
}
