import { WherryError } from '../base/errors.js';
import { VOLUME_ROOT } from './worker-environment.js';

/** A volume of a release: what outlives its workers, by name, and where they find it. */
export interface Volume {
  readonly name: string;
  readonly path: string;
}

/** Of a volume as text. */
export const VOLUME_PATTERN = '^[A-Za-z0-9][A-Za-z0-9._-]*:/[^:\\u0000]*$';

/** Parses `name:path`. Throws RUNTIME_REFUSED. */
export function parseVolume(text: string): Volume {
  const colon = text.indexOf(':');
  if (new RegExp(VOLUME_PATTERN).test(text)) return { name: text.slice(0, colon), path: text.slice(colon + 1) };
  throw new WherryError('RUNTIME_REFUSED', `volume '${text}' refused: it is not name:/path`, {
    hint: `name it with letters, digits, dots and dashes, and give an absolute path, for instance models:${VOLUME_ROOT}`,
  });
}

/** The variable that tells a worker where its volume is: `WHERRY_VOLUME_MY_DATA` for `my-data`. */
export function variableOf({ name }: Pick<Volume, 'name'>): string {
  return `WHERRY_VOLUME_${name.toUpperCase().replace(/[^A-Z0-9]/g, '_')}`;
}
