import { messageOf, systemCodeOf, WherryError } from './errors.js';

/** Does what needs a directory that somebody named. Throws CONFIG_INVALID, with its name, when the system refuses: a file is in its place, it may not be written to. */
export async function usingDirectory<T>(dir: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    if (thrown instanceof WherryError || systemCodeOf(thrown) === undefined) throw thrown;
    throw new WherryError('CONFIG_INVALID', `directory '${dir}' cannot be used: ${messageOf(thrown)}`, {
      hint: 'name another directory, or see that this one can be read and written',
      cause: thrown,
    });
  }
}
