import { WherryError } from '../base/errors.js';
import { type ComposedServer, composeServer, type ServerOptions } from '../compose.js';
import { readServerFile } from '../compose-settings.js';

/** Composes the server that owns the data directory. Throws DATA_LOCKED, with the address of the one that owns it already. */
export async function composeOwner(options: ServerOptions): Promise<ComposedServer> {
  const { dataDir } = options;
  try {
    return await composeServer(options);
  } catch (thrown) {
    const owner = await readServerFile(dataDir);
    if (!(thrown instanceof WherryError) || thrown.code !== 'DATA_LOCKED' || !owner) throw thrown;
    throw new WherryError('DATA_LOCKED', `a server runs on '${dataDir}' already: ${owner.url} (process ${owner.pid})`, {
      hint: 'use that one, stop it, or choose another directory with --data',
      cause: thrown,
    });
  }
}
