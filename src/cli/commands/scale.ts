import { openClock } from '../../base/clock.js';
import { WherryError } from '../../base/errors.js';
import { DEFAULT_SETTINGS, type EndpointSettings } from '../../domain/endpoint.js';
import { formatDuration } from '../../project/units.js';
import { type Command, type Context, findAction, textOf, textsOf, untilStopped } from '../command.js';
import { ENDPOINT_OPTION, endpointOf } from '../endpoint.js';
import { formatTable } from '../output.js';
import { POLICY_OPTIONS, parsePolicyChange, readDuration, readPolicyOptions } from '../scale/policy.js';

type Scale = EndpointSettings['scale'];

export const scale: Command = {
  name: 'scale',
  summary: 'show or change how an endpoint scales; explain what the scaler decided; simulate other settings',
  args: '[action]',
  options: [
    ENDPOINT_OPTION,
    ...POLICY_OPTIONS,
    { flags: '--since <time>', text: 'explain, simulate: only from then on; RFC 3339, or a duration before now' },
    { flags: '--limit <n>', text: 'explain: the last so many decisions (default 20)' },
    { flags: '-w, --watch', text: 'explain: go on as decisions come' },
    { flags: '--recorded', text: 'simulate: replay the jobs of the endpoint whose records are kept (this is the default without --file)' },
    { flags: '--file <file>', text: 'simulate: replay the arrivals of a .csv or .json file' },
    { flags: '--set <settings>', text: 'simulate: other settings beside the current ones, for instance max=10,idle=30s', isRepeated: true },
    { flags: '--cold <duration>', text: 'simulate: how long a worker starts (default: as recorded, else 1s)' },
    { flags: '--thaw <duration>', text: 'simulate: how long a frozen worker needs (default 20ms)' },
    {
      flags: '--run <duration>',
      text: 'simulate: how long requests run of which it is not known (default: the median of the others, else 1s)',
    },
    { flags: '--plot <file>', text: 'simulate: draw queue and workers over time into an SVG file' },
  ],
  example: 'wherry scale simulate -e hello-node --set max=10,idle=30s --plot out.svg',
  async run(context) {
    const [action = 'settings'] = context.args;
    const actions: Readonly<Record<string, (context: Context) => Promise<number>>> = { settings, explain, simulate };
    const chosen = findAction(actions, action);
    if (chosen) return chosen(context);
    throw new WherryError('USAGE', `'${action}' is not something to do with scaling`, {
      hint: 'use explain or simulate, or only settings such as --max 5',
    });
  },
};

/** Shows the settings, after the change that was asked for. */
async function settings(context: Context): Promise<number> {
  const endpointId = await endpointOf(context);
  const change = readPolicyOptions(context.options);
  const client = await context.client();
  const isChange = Object.keys(change).length > 0;
  const endpoint = isChange
    ? await client.updateEndpoint(endpointId, { settings: { scale: change } })
    : await client.getEndpoint(endpointId);
  const { scale: now } = endpoint.settings;
  if (isChange) context.output.talk('  in effect at once, until the next deploy of a wherry.yaml that says otherwise');
  context.output.result(now, formatTable(['setting', 'value'], listSettings(now)));
  return 0;
}

function listSettings({ min, max, idleMs, type, value, extra = 0, restAfterMs = 0, keep = 'freeze' }: Scale): string[][] {
  const restAfter = restAfterMs === 0 ? 'never' : formatDuration(restAfterMs);
  const rows = { min, max, idle: formatDuration(idleMs), type, value, extra, restAfter, keep };
  return Object.entries(rows).map(([name, shown]) => [name, String(shown)]);
}

/** Moments between looks for new decisions. */
const WATCH_MS = 1_000;

async function explain(context: Context): Promise<number> {
  const { options, output, signal } = context;
  const endpointId = await endpointOf(context);
  const client = await context.client();
  const since = readSince(context);
  const limit = readLimit(textOf(options, 'limit') ?? '20');
  const list = (query: { readonly since?: string; readonly limit: number }) => client.listDecisions(endpointId, query);
  const { formatDecision, formatDecisions } = await import('../scale/explain-text.js');
  const items = await list({ limit, ...(since !== undefined && { since: new Date(since).toISOString() }) });
  if (options['watch'] !== true) {
    output.result(
      { items },
      items.length === 0 ? 'no decisions yet: the scaler notes those that change or do something' : formatDecisions(items.toReversed()),
    );
    return 0;
  }
  const seen = new Set<string>();
  for (let fresh = items; ; fresh = await list({ limit: 1_000, since: new Date(openClock().now() - 60_000).toISOString() })) {
    for (const decision of fresh.toReversed().filter(({ at, release }) => !seen.has(`${at}/${release}`))) {
      seen.add(`${decision.at}/${decision.release}`);
      output.line(decision, formatDecision(decision));
    }
    if (await isStopped(context)) return signal.aborted ? 130 : 0;
  }
}

/** Waits for the next look; true when the user asked to stop meanwhile. */
async function isStopped(context: Context): Promise<boolean> {
  const pause = new Promise<void>((resolve) => {
    setTimeout(resolve, WATCH_MS);
  });
  await Promise.race([pause, untilStopped(context)]);
  return context.signal.aborted;
}

async function simulate(context: Context): Promise<number> {
  const { options, output } = context;
  const { completeTrace } = await import('../scale/trace.js');
  const { compareVariants, makeVariants, tabulate } = await import('../scale/variants.js');
  const { trace, current, title } = await readTrace(context);
  const durationOf = (name: string) => {
    const text = textOf(options, name);
    return text === undefined ? undefined : readDuration(`--${name}`, text);
  };
  if (trace.arrivals.length === 0) {
    throw new WherryError('USAGE', 'there are no arrivals to replay', {
      hint: 'records of jobs go after their retention; name a file with --file',
    });
  }
  const requests = completeTrace(trace, durationOf('run'));
  const speeds = { startMs: durationOf('cold') ?? trace.coldMs ?? 1_000, thawMs: durationOf('thaw') ?? 20, stopMs: 100 };
  const direct = readPolicyOptions(options);
  const changes = [...(Object.keys(direct).length > 0 ? [direct] : []), ...textsOf(options, 'set').map(parsePolicyChange)];
  const outcomes = compareVariants(makeVariants(current, changes), requests, speeds);
  const plot = textOf(options, 'plot');
  if (plot !== undefined) {
    const { formatPlot } = await import('../scale/plot.js');
    const { writeFile } = await import('node:fs/promises');
    await writeFile(plot, formatPlot(title, outcomes));
    output.talk(`  drawn to ${plot}`);
  }
  output.talk(`  ${title}; a worker starts in ${speeds.startMs} ms, thaws in ${speeds.thawMs} ms, has one request at a time`);
  const variants = outcomes.map(({ name, scale: policy, metrics }) => ({ name, scale: policy, metrics }));
  const table = formatTable(['', ...outcomes.map(({ name }) => name)], tabulate(outcomes));
  output.result({ requests: requests.length, assumed: speeds, variants }, table);
  return 0;
}

/** The arrivals that were asked for and the settings they are replayed under. */
async function readTrace(context: Context) {
  const { options, client } = context;
  const { readRecorded, readTraceFile } = await import('../scale/trace.js');
  const file = textOf(options, 'file');
  if (file !== undefined && options['recorded'] === true) {
    throw new WherryError('USAGE', '--file and --recorded exclude each other', { hint: 'leave one of them out' });
  }
  // A file needs no server, unless its endpoint is named.
  if (file !== undefined && textOf(options, 'endpoint') === undefined) {
    return { trace: await readTraceFile(file), current: DEFAULT_SETTINGS.scale, title: `arrivals of ${file}` };
  }
  const endpointId = await endpointOf(context);
  const api = await client();
  const { scale: current } = (await api.getEndpoint(endpointId)).settings;
  if (file !== undefined) return { trace: await readTraceFile(file), current, title: `arrivals of ${file}, settings of ${endpointId}` };
  return { trace: await readRecorded(api, endpointId, readSince(context) ?? 0), current, title: `jobs of ${endpointId}` };
}

/** Milliseconds since the epoch. Throws USAGE. */
function readSince({ options }: Context): number | undefined {
  const text = textOf(options, 'since');
  if (text === undefined) return undefined;
  return /^\d{4}-/.test(text) ? readMoment(text) : openClock().now() - readDuration('--since', text);
}

function readMoment(text: string): number {
  const at = Date.parse(text);
  if (!Number.isNaN(at)) return at;
  throw new WherryError('USAGE', `--since '${text}' is not a moment`, {
    hint: 'write RFC 3339 or a duration before now, for instance 10m',
  });
}

function readLimit(text: string): number {
  const limit = Number(text);
  if (Number.isInteger(limit) && limit >= 1 && limit <= 1_000) return limit;
  throw new WherryError('USAGE', `--limit '${text}' is not a number from 1 to 1000`, { hint: 'use for instance 50' });
}
