import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, systemCodeOf } from '../../base/errors.js';
import { formatCommand } from '../../check/report-annotations.js';
import { RUN_LABEL } from '../../check/test-endpoint.js';
import type { Context } from '../command.js';
import { openKnownServer, openOwnServer } from '../test/server.js';
import { type ActionUse, readUse } from './inputs.js';

/** The step of the action that runs always: removes what a run that was killed left, on the server and here. */
export async function cleanAction(context: Context): Promise<number> {
  const use = readUse(context);
  try {
    if (use.apiUrl === '') await endOwnServer(use);
    else await removeEndpoints(use);
  } catch (thrown) {
    const text = `not all of run ${use.runId} could be removed; endpoints expire by themselves: ${messageOf(thrown)}`;
    const order = formatCommand('warning', text);
    context.output.line(order, order);
  }
  await rm(use.dir, { recursive: true, force: true, maxRetries: 5 });
  return 0;
}

/** The next server of tests ends what the one before left. */
async function endOwnServer({ dir, context }: ActionUse): Promise<void> {
  const left = await readdir(join(dir, 'data', 'test')).catch((thrown: unknown) => {
    if (systemCodeOf(thrown) === 'ENOENT') return [];
    throw thrown;
  });
  if (left.length > 0) await (await openOwnServer(context)).close();
}

async function removeEndpoints({ context, runId }: ActionUse): Promise<void> {
  const { client } = await openKnownServer(context);
  for (const { id } of await client.listEndpoints({ label: `${RUN_LABEL}=${runId}` })) await client.removeEndpoint(id);
}
