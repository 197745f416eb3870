import { WherryError } from '../base/errors.js';

/** With an offset: a time of day alone means another moment on each machine. */
const MOMENT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/i;

/** The milliseconds of an RFC 3339 text that a client sent as `name`. Throws REQUEST_INVALID. */
export function readMoment(name: string, text: string): number {
  const at = Date.parse(text);
  if (MOMENT.test(text) && !Number.isNaN(at)) return at;
  throw new WherryError('REQUEST_INVALID', `${name} '${text}' is not a moment`, {
    hint: 'write RFC 3339, for instance 2026-01-31T12:00:00Z',
  });
}
