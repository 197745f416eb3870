import { existsSync } from 'node:fs';
import { WherryError } from '../base/errors.js';
import { type Context, textOf } from './command.js';

/** `--endpoint`, else the name of the project in the current directory. Throws USAGE. */
export async function endpointOf({ options }: Context): Promise<string> {
  const chosen = textOf(options, 'endpoint');
  if (chosen !== undefined) return chosen;
  if (existsSync('wherry.yaml')) {
    const { readProject } = await import('../project/read.js');
    return (await readProject('.')).name;
  }
  throw new WherryError('USAGE', 'no endpoint was named, and there is no wherry.yaml here', {
    hint: 'add -e NAME; `wherry status` lists the endpoints',
  });
}

export const ENDPOINT_OPTION = { flags: '-e, --endpoint <id>', text: 'endpoint (default: the project in this directory)' } as const;
