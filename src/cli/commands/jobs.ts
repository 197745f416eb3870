import { formatFailure } from '../../api/failure.js';
import { openClock } from '../../base/clock.js';
import { WherryError } from '../../base/errors.js';
import { type Command, type Context, findAction, textOf, textsOf } from '../command.js';
import { ENDPOINT_OPTION, endpointOf } from '../endpoint.js';
import { formatAgo, formatTable } from '../output.js';

export const run: Command = {
  name: 'run',
  summary: 'send a request to an endpoint and print its answer',
  options: [
    ENDPOINT_OPTION,
    { flags: '-i, --input-field <name=value>', text: 'field of the input: name=text, name=@file, name:=JSON', isRepeated: true },
    { flags: '--input <json>', text: 'the whole input as JSON, @file or @-' },
    { flags: '--async', text: 'print the job and do not wait' },
    { flags: '--wait <seconds>', text: 'how long to wait (default 300)' },
  ],
  example: 'wherry run -e hello-node -i name=Ada',
  async run(context) {
    const { options, output, signal } = context;
    const endpointId = await endpointOf(context);
    const { readInput } = await import('../run-input.js');
    const input = await readInput(textOf(options, 'input'), textsOf(options, 'inputField'));
    const client = await context.client();
    if (options['async'] === true) {
      const job = await client.submit(endpointId, { input });
      output.result(job, job.id);
      return 0;
    }
    const waitMs = readSeconds(textOf(options, 'wait') ?? '300') * 1000;
    const { sendAndWait, isLive, formatValue } = await import('../send-job.js');
    const job = await sendAndWait(client, { endpointId, body: { input }, waitMs, signal }, output);
    if (isLive(job)) {
      throw new WherryError('WAIT_TIMEOUT', `job '${job.id}' is still ${job.status} after ${waitMs / 1000} s`, {
        hint: `it goes on; see \`wherry jobs get ${job.id} -e ${endpointId}\` and \`wherry status\``,
      });
    }
    if (job.status !== 'COMPLETED') output.warn(`job ${job.id} ended ${job.status}: ${formatFailure(job.error)}`);
    output.result(job, job.status === 'COMPLETED' ? formatValue(job.output) : '');
    return job.status === 'COMPLETED' ? 0 : 1;
  },
};

function readSeconds(text: string): number {
  const seconds = Number(text);
  if (Number.isFinite(seconds) && seconds >= 1) return seconds;
  throw new WherryError('USAGE', `--wait '${text}' is not a number of seconds`, { hint: 'use a number from 1 on' });
}

export const jobs: Command = {
  name: 'jobs',
  summary: 'list jobs; get, cancel, or purge the queue',
  args: '[action] [id]',
  options: [
    ENDPOINT_OPTION,
    { flags: '--state <state>', text: 'only jobs in this state' },
    { flags: '--worker <id>', text: 'only jobs of this worker' },
    { flags: '--limit <n>', text: 'at most so many (default 20)' },
  ],
  example: 'wherry jobs -e hello-node',
  async run(context) {
    const [action = 'list', id] = context.args;
    const actions: Readonly<Record<string, (context: Context, id: string | undefined) => Promise<number>>> = { list, get, cancel, purge };
    const chosen = findAction(actions, action);
    if (chosen) return chosen(context, id);
    throw new WherryError('USAGE', `'${action}' is not something to do with jobs`, { hint: 'use list, get ID, cancel ID or purge' });
  },
};

async function list(context: Context): Promise<number> {
  const { options, output } = context;
  const client = await context.client();
  const state = textOf(options, 'state');
  const worker = textOf(options, 'worker');
  const items = await client.listJobs(await endpointOf(context), {
    limit: Number(textOf(options, 'limit') ?? 20),
    ...(state !== undefined && { state }),
    ...(worker !== undefined && { worker }),
  });
  const now = openClock().now();
  const rows = items.map(({ id, status, submittedAt, delayTime, executionTime, workerId }) => [
    id,
    status,
    formatAgo(submittedAt, now),
    delayTime == null ? '' : `${delayTime} ms`,
    executionTime == null ? '' : `${executionTime} ms`,
    workerId ?? '',
  ]);
  output.result(
    { items },
    rows.length === 0 ? 'no jobs' : formatTable(['job', 'state', 'submitted', 'delay', 'execution', 'worker'], rows),
  );
  return 0;
}

async function get(context: Context, id: string | undefined): Promise<number> {
  const client = await context.client();
  const job = await client.getJob(await endpointOf(context), requireId(id));
  context.output.result(job, JSON.stringify(job, null, 2));
  return 0;
}

async function cancel(context: Context, id: string | undefined): Promise<number> {
  const client = await context.client();
  const job = await client.cancel(await endpointOf(context), requireId(id));
  context.output.result(job, `${job.id} ${job.status}`);
  return 0;
}

async function purge(context: Context): Promise<number> {
  const client = await context.client();
  const purged = await client.purge(await endpointOf(context));
  context.output.result(purged, `${purged.removed} queued jobs removed`);
  return 0;
}

function requireId(id: string | undefined): string {
  if (id !== undefined) return id;
  throw new WherryError('USAGE', 'which job? its id is missing', { hint: 'add the id that `wherry jobs` lists' });
}
