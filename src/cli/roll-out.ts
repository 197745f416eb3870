import { setTimeout as delay } from 'node:timers/promises';
import type { ApiClient } from '../api/client.js';
import type { DeployView, JobView, RolloutView } from '../api/resources.js';
import { messageOf, WherryError } from '../base/errors.js';
import { formatRelease } from '../domain/release.js';
import { candidatePhase, type Deployment, type Motion, releasePhases } from './motion.js';
import { formatFailure, formatValue, isLive } from './send-job.js';
import type { TestInput } from './test-input.js';

export interface RollOut extends Deployment {
  /** Sent to the candidate before any job reaches it; undefined: no test. */
  readonly test: TestInput | undefined;
  readonly signal: AbortSignal;
}

export interface RolledOut extends DeployView {
  /** The job of the test; null when there was none. */
  readonly test: JobView | null;
}

/**
 * Releases an image: its candidate becomes ready, answers the test input, and only then the release serves, or begins as a canary. A test that
 * fails takes the release back; the one before never stopped. Throws as `releasePhases` and `candidatePhase` do.
 */
export async function rollOut(client: ApiClient, { test, signal, ...deployment }: RollOut, motion: Motion): Promise<RolledOut> {
  const isHeld = deployment.hold === true;
  const released = await releasePhases(client, { ...deployment, hold: isHeld || test !== undefined }, motion);
  const candidate = await candidatePhase(client, released, motion);
  if (!candidate || !test || candidate.provedAt === null) return { ...released, rollout: candidate, test: null };
  const tested = await runTest(client, { candidate, test, signal }, motion);
  const { endpointId, to } = candidate;
  if (tested.status !== 'COMPLETED') {
    return { ...released, rollout: await takeBack(client, candidate, `its test input failed: ${describeEnd(tested)}`), test: tested };
  }
  const rollout = isHeld ? candidate : await client.stepRollout(endpointId, { action: 'promote', to });
  return { ...released, rollout, test: tested };
}

/** Longest test: the server takes a held release back by itself a little later. */
const TEST_MS = 840_000;
/** Longest single wait for the test's job: an interruption is noticed in between. */
const LOOK_MS = 2_000;

type Test = { readonly candidate: RolloutView; readonly test: TestInput; readonly signal: AbortSignal };

/** The job of the test once it has ended. Whatever stops the test takes the release back. */
async function runTest(client: ApiClient, { candidate, test, signal }: Test, { phases }: Motion): Promise<JobView> {
  const { endpointId, to } = candidate;
  try {
    return await phases.run('test', () => finishJob(client, { endpointId, body: { ...test, releaseId: to }, signal }), describeEnd);
  } catch (thrown) {
    await takeBack(client, candidate, `its test could not be run: ${messageOf(thrown)}`);
    throw thrown;
  }
}

type TestJob = {
  readonly endpointId: string;
  readonly body: TestInput & { readonly releaseId: number };
  readonly signal: AbortSignal;
};

async function finishJob(client: ApiClient, { endpointId, body, signal }: TestJob): Promise<JobView> {
  const end = performance.now() + TEST_MS;
  let job = await client.submit(endpointId, body);
  while (isLive(job)) {
    if (signal.aborted) throw new WherryError('WAIT_TIMEOUT', 'it was interrupted');
    if (performance.now() > end) throw new WherryError('WAIT_TIMEOUT', `job '${job.id}' is still ${job.status} after ${TEST_MS / 1000} s`);
    const interrupted = delay(LOOK_MS, undefined, { signal }).catch(() => {});
    job = await Promise.race([client.jobStatus(endpointId, job.id, LOOK_MS), interrupted.then(() => job)]);
  }
  return job;
}

/** The rollout as it is then; somebody may have ended it, for instance because the candidate crashed. */
async function takeBack(client: ApiClient, { endpointId, to }: RolloutView, reason: string): Promise<RolloutView> {
  try {
    return await client.stepRollout(endpointId, { action: 'abort', to, reason });
  } catch (thrown) {
    if (!(thrown instanceof WherryError && thrown.code === 'ROLLOUT_UNKNOWN')) throw thrown;
    return client.waitRollout(endpointId, to, 0);
  }
}

function describeEnd({ id, status, output, error, executionTime }: JobView): string {
  if (status === 'COMPLETED') return `answered in ${executionTime ?? 0} ms: ${shorten(formatValue(output))}`;
  return `job ${id} ended ${status}${error === undefined ? '' : `: ${formatFailure(error)}`}`;
}

const SHOWN = 60;
const shorten = (text: string) => (text.length <= SHOWN ? text : `${text.slice(0, SHOWN)}…`);

/** What `wherry deploy` says of the test and of where the release is now. */
export function describeRollOut({ release: { endpointId, number }, rollout, test }: RolledOut): readonly string[] {
  const name = `${endpointId} ${formatRelease(number)}`;
  if (rollout?.state === 'REVERTED')
    return [`${name} was taken back: ${rollout.reason ?? ''}`, 'the release before it never stopped serving'];
  const passed = test ? [`the test input passed: ${describeEnd(test)}`] : [];
  if (rollout?.state === 'CANARY')
    return [
      ...passed,
      `${name} gets ${rollout.share} % of new jobs; \`wherry promote -e ${endpointId}\` gives it all, \`wherry abort\` none`,
    ];
  if (rollout?.state === 'PROVING' && rollout.provedAt !== null)
    return [...passed, `${name} waits ${(rollout.holdMs ?? 0) / 1000} s for \`wherry promote -e ${endpointId}\`, else it is taken back`];
  return passed;
}
