import type { LogQuery } from '../../api/resources.js';
import { openClock } from '../../base/clock.js';
import { WherryError } from '../../base/errors.js';
import { type Command, type OptionValues, textOf } from '../command.js';
import { ENDPOINT_OPTION, endpointOf } from '../endpoint.js';
import { formatLine } from '../log-line.js';
import { readMoment } from '../moment.js';
import { readRelease } from '../release-text.js';

export const logs: Command = {
  name: 'logs',
  summary: 'show what workers printed, and what happened to them',
  options: [
    ENDPOINT_OPTION,
    { flags: '-f, --follow', text: 'go on as lines come, also over a restart of the server' },
    { flags: '--worker <id>', text: 'only this worker' },
    { flags: '--job <id>', text: 'only lines printed while this job ran' },
    { flags: '--release <release>', text: 'only workers of this release' },
    { flags: '--source <source>', text: "container for what workers printed, system for the platform's own lines" },
    { flags: '--since <when>', text: 'only lines from then on: 10m, 2h, or a moment such as 2026-01-31T12:00:00Z' },
    { flags: '--until <when>', text: 'only lines before then' },
    { flags: '--grep <pattern>', text: 'only lines that match this regular expression (RE2; (?i) ignores case)' },
    { flags: '--limit <n>', text: 'last so many lines (default 100)' },
  ],
  example: "wherry logs -e hello-node --since 10m --grep '(?i)error'",
  async run(context) {
    const { options, output, signal } = context;
    const query = readQuery(options);
    const endpointId = await endpointOf(context);
    const client = await context.client();
    if (options['follow'] !== true) {
      const items = await client.readLogs(endpointId, query);
      output.result({ items }, items.map(formatLine).join('\n'));
      return 0;
    }
    if (query.until !== undefined)
      throw new WherryError('USAGE', '--follow has no end, and --until is one', { hint: 'leave one of them out' });
    for await (const line of client.followLogs(endpointId, query, signal)) output.line(line, formatLine(line));
    return signal.aborted ? 130 : 0;
  },
};

const SOURCES = ['system', 'container'] as const;

function readQuery(options: OptionValues): LogQuery {
  const now = openClock().now();
  const [worker, job, release, source, grep] = ['worker', 'job', 'release', 'source', 'grep'].map((name) => textOf(options, name));
  const since = textOf(options, 'since');
  const until = textOf(options, 'until');
  return {
    limit: Number(textOf(options, 'limit') ?? 100),
    ...(worker !== undefined && { worker }),
    ...(job !== undefined && { job }),
    ...(release !== undefined && { release: readRelease(release) }),
    ...(source !== undefined && { source: readSource(source) }),
    ...(since !== undefined && { since: readMoment('since', since, now) }),
    ...(until !== undefined && { until: readMoment('until', until, now) }),
    ...(grep !== undefined && { grep }),
  };
}

function readSource(text: string): (typeof SOURCES)[number] {
  const source = SOURCES.find((known) => known === text);
  if (source) return source;
  throw new WherryError('USAGE', `--source '${text}' is not a source of lines`, { hint: `use ${SOURCES.join(' or ')}` });
}
