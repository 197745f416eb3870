import { openClock } from '../../base/clock.js';
import { WherryError } from '../../base/errors.js';
import { formatLabels } from '../../domain/endpoint.js';
import { formatTests } from '../../domain/test-report.js';
import { type Command, type OptionValues, textOf } from '../command.js';
import type { TagNow } from '../drift.js';
import { ENDPOINT_OPTION, endpointOf } from '../endpoint.js';
import { formatAgo, formatLeft, formatTable } from '../output.js';
import { diffVariables, readRelease } from '../release-text.js';

export const releases: Command = {
  name: 'releases',
  summary: 'list the releases of an endpoint, and whether the tags they came from mean something else now',
  options: [
    ENDPOINT_OPTION,
    { flags: '--limit <n>', text: 'at most so many (default 100)' },
    { flags: '--before <release>', text: 'only older ones than this release' },
    { flags: '--report <release>', text: 'print the test report that is kept with this release' },
    { flags: '--drift', text: 'ask other registries too what tags mean now, not only the own one' },
  ],
  example: 'wherry releases -e hello-node',
  async run(context) {
    const endpointId = await endpointOf(context);
    const client = await context.client();
    const reported = textOf(context.options, 'report');
    if (reported !== undefined) {
      const report = await client.getReport(endpointId, readRelease(reported));
      context.output.result(report, JSON.stringify(report, null, 2));
      return 0;
    }
    const range = readRange(context.options);
    // One more than is shown: the oldest is compared with it.
    const [found, rollouts, endpoint] = await Promise.all([
      client.listReleases(endpointId, { ...range, limit: range.limit + 1 }),
      client.listRollouts(endpointId, range),
      client.getEndpoint(endpointId),
    ]);
    const items = found.slice(0, range.limit);
    const { readTagsNow, tagOf } = await import('../drift.js');
    const tagsNow = await readTagsNow(items, context, { isRemote: context.options['drift'] === true });
    const described = items.map((release, index) => {
      const { state = 'DONE', share = 100, reason = null, percentOnLatest = null } = rollouts.find(({ to }) => to === release.number) ?? {};
      return {
        ...release,
        tagNow: tagsNow.get(tagOf(release.image) ?? '') ?? null,
        state: release.number === endpoint.activeRelease ? 'SERVES' : state,
        share,
        percentOnLatest,
        reason,
        envChanges: diffVariables(found[index + 1]?.spec, release.spec),
      };
    });
    const now = openClock().now();
    const rows = described.map(({ number, createdAt, author, source, image, envChanges, tagNow, tests, ...rest }) => [
      `r${number}`,
      describeState(rest),
      tests === null ? '' : formatTests(tests),
      formatAgo(createdAt, now),
      author,
      source,
      image.tag ?? '',
      image.digest.slice(7, 19),
      describeDrift(tagNow, image.digest),
      envChanges.join(' '),
    ]);
    const table = formatTable(['release', 'state', 'tests', 'made', 'by', 'source', 'tag', 'digest', 'tag now', 'env'], rows);
    const reasons = described.flatMap(({ number, reason }) => (reason === null ? [] : [`r${number}  ${reason.split('\n')[0]}`]));
    context.output.result({ items: described }, rows.length === 0 ? 'no releases' : [table, ...reasons].join('\n'));
    return 0;
  },
};

/** With the share of a canary, and how many of the workers run it while others are left. */
function describeState({ state, share, percentOnLatest }: { state: string; share: number; percentOnLatest: number | null }): string {
  if (state === 'CANARY') return `CANARY ${share} %`;
  return state === 'SERVES' && percentOnLatest !== null && percentOnLatest < 100 ? `SERVES ${percentOnLatest} %` : state;
}

const SHOWN = 100;

/** Throws USAGE. */
function readRange(options: OptionValues): { readonly limit: number; readonly before?: number } {
  const before = textOf(options, 'before');
  const limit = Number(textOf(options, 'limit') ?? SHOWN);
  if (!Number.isInteger(limit) || limit < 1 || limit >= 1_000)
    throw new WherryError('USAGE', '--limit is not a number from 1 to 999', { hint: 'use --before to read on' });
  return { limit, ...(before !== undefined && { before: readRelease(before) }) };
}

/** Nothing while the tag means what was released, or nobody asked. */
function describeDrift(now: TagNow | null, released: string): string {
  if (now === null) return '';
  if ('problem' in now) return 'unknown';
  return [now.digest, ...now.manifests].includes(released) ? '' : `moved to ${now.digest.slice(7, 19)}`;
}

export const resume: Command = {
  name: 'resume',
  summary: 'let an endpoint start workers again after it was paused',
  args: '[endpoint]',
  options: [ENDPOINT_OPTION],
  example: 'wherry resume hello-node',
  async run(context) {
    const endpointId = context.args[0] ?? (await endpointOf(context));
    const client = await context.client();
    const { pausedReason } = await client.getEndpoint(endpointId);
    const endpoint = await client.updateEndpoint(endpointId, { isPaused: false });
    context.output.result(endpoint, pausedReason === null ? `${endpointId} was not paused` : `${endpointId} starts workers again`);
    return 0;
  },
};

export const status: Command = {
  name: 'status',
  summary: 'what runs, what waits, and why',
  args: '[endpoint]',
  example: 'wherry status',
  async run(context) {
    const client = await context.client();
    const status = await client.status();
    const shown = context.args[0] === undefined ? status.endpoints : status.endpoints.filter(({ id }) => id === context.args[0]);
    if (context.args[0] !== undefined && shown.length === 0) await client.getEndpoint(context.args[0]);
    // Most endpoints are made to stay and have no labels.
    const isPassing = shown.some(({ labels, expiresAt }) => expiresAt !== null || Object.keys(labels).length > 0);
    const now = openClock().now();
    const rows = shown.map(({ id, health: { jobs }, summary, labels, expiresAt }) => {
      const passing = [expiresAt === null ? '' : formatLeft(expiresAt, now), formatLabels(labels)];
      return [id, `${jobs.completed}/${jobs.failed}`, ...(isPassing ? passing : []), summary];
    });
    const table = formatTable(['endpoint', 'done/failed', ...(isPassing ? ['expires', 'labels'] : []), 'health'], rows);
    context.output.result({ ...status, endpoints: shown }, rows.length === 0 ? 'no endpoints yet: `wherry deploy DIR` makes one' : table);
    return 0;
  },
};
