import { readFile } from 'node:fs/promises';
import { type ErrorCode, messageOf, systemCodeOf, WherryError } from '../base/errors.js';

/** The text of a file that the user wrote; undefined when there is none. Throws `code` when there is one that cannot be read. */
export async function readProjectText(file: string, code: ErrorCode = 'CONFIG_INVALID'): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    const system = systemCodeOf(cause);
    if (system === 'ENOENT' || system === 'ENOTDIR') return undefined;
    const why = system === 'EISDIR' ? 'it is a directory' : messageOf(cause);
    throw new WherryError(code, `read '${file}': ${why}`, { hint: 'make it a file that you may read, or remove it', cause });
  }
}
