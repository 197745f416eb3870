import { resolve } from 'node:path';
import { toWherryError } from '../../base/errors.js';
import { TEST_FILES } from '../../check/find-suite.js';
import type { Context } from '../command.js';
import { changesOf } from '../dev/watch.js';

/** Runs now and at each change of the project or its test files until the signal aborts; what goes wrong is shown and the next change tried. */
export async function repeatOnChange(
  { output, signal }: Context,
  { dir, file }: { readonly dir: string; readonly file: string | undefined },
  run: () => Promise<number>,
): Promise<number> {
  const shown = async (): Promise<void> => {
    await run().catch((thrown: unknown) => {
      if (!signal.aborted) output.error(toWherryError(thrown));
    });
    if (!signal.aborted) output.talk('waiting for a change');
  };
  const changes = changesOf(resolve(dir), signal, file === undefined ? TEST_FILES : [file]);
  await shown();
  for await (const _ of changes) {
    output.talk('a file changed');
    await shown();
  }
  return 130;
}
