import { rm } from 'node:fs/promises';
import { messageOf } from '../../base/errors.js';
import { removeForeignRun } from '../../check/foreign-endpoint.js';
import { formatCommand } from '../../check/report-annotations.js';
import { RUN_LABEL } from '../../check/test-endpoint.js';
import type { Context } from '../command.js';
import { endLeftovers, openKnownServer } from '../test/server.js';
import { type ActionUse, readUse } from './inputs.js';
import { openStepLog } from './log.js';

/** The step of the action that runs always: removes what a run that was killed left, on the server and here. */
export async function cleanAction(context: Context): Promise<number> {
  const log = openStepLog((line) => context.output.line(line, line));
  const use = readUse(context);
  const warn = (text: string): void => log.command(formatCommand('warning', text));
  try {
    if (use.apiUrl === '') await log.quote((output) => endLeftovers({ ...use.context, output }));
    else if (use.apiKey !== '') for (const sentence of await removeFromServer(use)) warn(sentence);
  } catch (thrown) {
    warn(`what run ${use.runId} left could not be looked for: ${messageOf(thrown)}`);
  }
  await rm(use.dir, { recursive: true, force: true, maxRetries: 5 });
  return 0;
}

async function removeFromServer({ context, runId }: ActionUse): Promise<readonly string[]> {
  const { kind, client, graphql } = await openKnownServer(context);
  if (kind === 'foreign') return removeForeignRun(graphql, runId);
  for (const { id } of await client.listEndpoints({ label: `${RUN_LABEL}=${runId}` })) await client.removeEndpoint(id);
  return [];
}
