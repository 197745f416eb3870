import type { ApiClient } from '../../api/client.js';
import type { ReleaseView, RolloutView } from '../../api/resources.js';
import { WherryError } from '../../base/errors.js';
import { formatRelease } from '../../domain/release.js';
import { type Command, textOf } from '../command.js';
import { ENDPOINT_OPTION, endpointOf } from '../endpoint.js';
import { describeChanges, readRelease, readShare } from '../release-text.js';

const RELEASE_OPTION = { flags: '--release <release>', text: 'only if this is the release that is being rolled out' } as const;

export const promote: Command = {
  name: 'promote',
  summary: 'let the release that is held or a canary go on: all new jobs are its own',
  options: [ENDPOINT_OPTION, RELEASE_OPTION, { flags: '--canary <percent>', text: 'this share of new jobs (1 to 99) instead of all' }],
  example: 'wherry promote -e hello-node',
  async run(context) {
    const share = readShare(textOf(context.options, 'canary'));
    const endpointId = await endpointOf(context);
    const client = await context.client();
    const to = textOf(context.options, 'release');
    const meant = to === undefined ? {} : { to: readRelease(to) };
    const before = share === undefined ? undefined : await client.stepRollout(endpointId, { action: 'share', share, ...meant });
    // A held one becomes the canary that it now is to be.
    const rollout = before && before.state === 'CANARY' ? before : await client.stepRollout(endpointId, { action: 'promote', ...meant });
    context.output.result(rollout, describeStep(rollout));
    return 0;
  },
};

export const abort: Command = {
  name: 'abort',
  summary: 'take back the release that is being rolled out; the one before goes on serving',
  options: [ENDPOINT_OPTION, RELEASE_OPTION, { flags: '--reason <text>', text: 'kept with the release' }],
  example: 'wherry abort -e hello-node',
  async run(context) {
    const endpointId = await endpointOf(context);
    const client = await context.client();
    const to = textOf(context.options, 'release');
    const reason = textOf(context.options, 'reason');
    const rollout = await client.stepRollout(endpointId, {
      action: 'abort',
      ...(to !== undefined && { to: readRelease(to) }),
      ...(reason !== undefined && { reason }),
    });
    context.output.result(rollout, describeStep(rollout));
    return 0;
  },
};

function describeStep({ endpointId, to, from, state, share }: RolloutView): string {
  const name = `${endpointId} ${formatRelease(to)}`;
  if (state === 'DONE') return `${name} serves`;
  if (state === 'CANARY') return `${name} gets ${share} % of new jobs`;
  return `${name} was taken back; ${from === null ? 'nothing serves' : `${formatRelease(from)} serves`}`;
}

const ROLLOUT_WAIT_MS = 450_000;
/** What no rollback changes. */
const STAYS = ['settings that change in place (scale, limits, runtime)', 'values of secrets', 'jobs that wait or run'];

export const rollback: Command = {
  name: 'rollback',
  summary: 'make an earlier release serve again (default: the one before), and say what that changes',
  args: '[release]',
  options: [ENDPOINT_OPTION, { flags: '--dry-run', text: 'only say what would change' }],
  example: 'wherry rollback r1 -e hello-node',
  async run(context) {
    const { output, args } = context;
    const endpointId = await endpointOf(context);
    const client = await context.client();
    const release = args[0] === undefined ? undefined : readRelease(args[0]);
    const { active, target } = await findReleases(client, endpointId, release);
    const changes = active && target ? describeChanges(active, target) : [];
    const text = [`  changes  ${changes.join(', ') || 'nothing'}`, `  stays    ${STAYS.join(', ')}`];
    if (context.options['dryRun'] === true) {
      output.result(
        { release: target ?? null, changes, stays: STAYS },
        [`${endpointId} ${describeWay(active, target)}`, ...text].join('\n'),
      );
      return 0;
    }
    const chosen = release ?? target?.number;
    const result = await client.rollback(endpointId, chosen === undefined ? {} : { release: chosen });
    for (const warning of result.warnings) output.warn(warning);
    const { number, image, source } = result.release;
    const rollout = result.rollout && (await client.waitRollout(endpointId, number, ROLLOUT_WAIT_MS));
    if (rollout?.state === 'REVERTED') {
      throw new WherryError(
        'WORKER_START_TIMEOUT',
        `rollback r${number} of '${endpointId}' did not start: ${rollout.reason ?? 'no reason was given'}`,
        { hint: `the release before it still serves; see \`wherry logs -e ${endpointId}\`` },
      );
    }
    output.result(
      { ...result, rollout, changes, stays: STAYS },
      [`${endpointId} r${number} (${source})  ${image.digest}`, ...text].join('\n'),
    );
    return 0;
  },
};

/** The release that serves, and the one to go back to: the one asked for, else the last other one that served. Undefined when the server has to say why not. */
async function findReleases(
  client: ApiClient,
  endpointId: string,
  asked: number | undefined,
): Promise<{ readonly active: ReleaseView | undefined; readonly target: ReleaseView | undefined }> {
  const { activeRelease } = await client.getEndpoint(endpointId);
  const rollouts = asked === undefined ? await client.listRollouts(endpointId) : [];
  const number = asked ?? rollouts.find(({ to, state }) => state === 'DONE' && to !== activeRelease)?.to;
  const find = async (of: number | null | undefined) =>
    of == null ? undefined : (await client.listReleases(endpointId, { before: of + 1, limit: 1 })).find((one) => one.number === of);
  return { active: await find(activeRelease), target: await find(number) };
}

function describeWay(active: ReleaseView | undefined, target: ReleaseView | undefined): string {
  return `${active ? formatRelease(active.number) : 'nothing'} → what ${target ? formatRelease(target.number) : 'nothing'} was`;
}
