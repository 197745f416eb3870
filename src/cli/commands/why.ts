import { openClock } from '../../base/clock.js';
import { type Command, textOf } from '../command.js';
import { ENDPOINT_OPTION, endpointOf } from '../endpoint.js';

/** Ids of jobs are UUIDs of version 7, with a prefix when they came through /runsync. */
const JOB_ID = /^(sync-)?[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export const why: Command = {
  name: 'why',
  summary: 'explain a job (why it waits, or how it went) or an endpoint (how it is, and what holds its queue)',
  args: '[what]',
  options: [ENDPOINT_OPTION],
  example: 'wherry why hello-node',
  async run(context) {
    const { args, options, output } = context;
    const { formatEndpointWhy, formatJobWhy } = await import('../why-text.js');
    const client = await context.client();
    const what = args[0] ?? (await endpointOf(context));
    const now = openClock().now();
    if (JOB_ID.test(what)) {
      const found = await client.explainJob(what, textOf(options, 'endpoint'));
      output.result(found, formatJobWhy(found, now));
      return 0;
    }
    const found = await client.explainEndpoint(what);
    output.result(found, formatEndpointWhy(found, now));
    return 0;
  },
};
