import { openClock } from '../../base/clock.js';
import { WherryError } from '../../base/errors.js';
import type { Command } from '../command.js';
import type { TagNow } from '../drift.js';
import { ENDPOINT_OPTION, endpointOf } from '../endpoint.js';
import { formatAgo, formatTable } from '../output.js';

export const releases: Command = {
  name: 'releases',
  summary: 'list the releases of an endpoint, and whether the tags they came from mean something else now',
  options: [ENDPOINT_OPTION, { flags: '--drift', text: 'ask other registries too what tags mean now, not only the own one' }],
  example: 'wherry releases -e hello-node',
  async run(context) {
    const endpointId = await endpointOf(context);
    const client = await context.client();
    const [items, rollouts, endpoint] = await Promise.all([
      client.listReleases(endpointId),
      client.listRollouts(endpointId),
      client.getEndpoint(endpointId),
    ]);
    const { readTagsNow, tagOf } = await import('../drift.js');
    const tagsNow = await readTagsNow(items, context, { isRemote: context.options['drift'] === true });
    const described = items.map((release, index) => ({
      ...release,
      tagNow: tagsNow.get(tagOf(release.image) ?? '') ?? null,
      state: release.number === endpoint.activeRelease ? 'SERVES' : (rollouts.find(({ to }) => to === release.number)?.state ?? 'DONE'),
      envChanges: diffNames(items[index + 1]?.spec.env ?? {}, release.spec.env),
    }));
    const now = openClock().now();
    const rows = described.map(({ number, createdAt, author, source, image, state, envChanges, tagNow }) => [
      `r${number}`,
      state,
      formatAgo(createdAt, now),
      author,
      source,
      image.tag ?? '',
      image.digest.slice(7, 19),
      describeDrift(tagNow, image.digest),
      envChanges.join(' '),
    ]);
    const table = formatTable(['release', 'state', 'made', 'by', 'source', 'tag', 'digest', 'tag now', 'env'], rows);
    context.output.result({ items: described }, rows.length === 0 ? 'no releases' : table);
    return 0;
  },
};

/** Nothing while the tag means what was released, or nobody asked. */
function describeDrift(now: TagNow | null, released: string): string {
  if (now === null) return '';
  if ('problem' in now) return 'unknown';
  return now.digest === released ? '' : `moved to ${now.digest.slice(7, 19)}`;
}

/** `+NEW -GONE ~CHANGED`; values are not shown. */
function diffNames(before: Readonly<Record<string, string>>, after: Readonly<Record<string, string>>): string[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  return names.flatMap((name) => {
    if (before[name] === after[name]) return [];
    if (before[name] === undefined) return [`+${name}`];
    return [after[name] === undefined ? `-${name}` : `~${name}`];
  });
}

const ROLLOUT_WAIT_MS = 450_000;

export const rollback: Command = {
  name: 'rollback',
  summary: 'make an earlier release serve again (default: the one before)',
  args: '[release]',
  options: [ENDPOINT_OPTION],
  example: 'wherry rollback r1 -e hello-node',
  async run(context) {
    const { output, args } = context;
    const endpointId = await endpointOf(context);
    const client = await context.client();
    const release = args[0] === undefined ? undefined : readRelease(args[0]);
    const result = await client.rollback(endpointId, release === undefined ? {} : { release });
    for (const warning of result.warnings) output.warn(warning);
    const { number, image, source } = result.release;
    const rollout = result.rollout && (await client.waitRollout(endpointId, number, ROLLOUT_WAIT_MS));
    if (rollout?.state === 'REVERTED') {
      throw new WherryError(
        'WORKER_START_TIMEOUT',
        `rollback r${number} of '${endpointId}' did not start: ${rollout.reason ?? 'no reason was given'}`,
        {
          hint: `the release before it still serves; see \`wherry logs -e ${endpointId}\``,
        },
      );
    }
    output.talk('  settings that change in place (scale, limits) stay as they are');
    output.result({ ...result, rollout }, `${endpointId} r${number} (${source})  ${image.digest}`);
    return 0;
  },
};

/** The number of `r3` or `3`. Throws USAGE. */
export function readRelease(text: string): number {
  const number = Number(text.replace(/^r/, ''));
  if (Number.isInteger(number) && number > 0) return number;
  throw new WherryError('USAGE', `'${text}' is not a release`, { hint: 'use a number as `wherry releases` shows it, for instance r3' });
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
    const rows = shown.map(({ id, health: { jobs }, summary }) => [id, `${jobs.completed}/${jobs.failed}`, summary]);
    const table = formatTable(['endpoint', 'done/failed', 'health'], rows);
    context.output.result({ ...status, endpoints: shown }, rows.length === 0 ? 'no endpoints yet: `wherry deploy DIR` makes one' : table);
    return 0;
  },
};
