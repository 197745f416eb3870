import type { ApiClient } from '../api/client.js';
import { formatFailure } from '../api/failure.js';
import type { DeployView, JobView, RolloutView } from '../api/resources.js';
import { messageOf, WherryError } from '../base/errors.js';
import { formatRelease } from '../domain/release.js';
import { candidatePhase, type Deployment, type Motion, releasePhases } from './motion.js';
import { formatValue, isLive } from './send-job.js';
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
  if (!test || !released.rollout) return { ...released, rollout: await candidatePhase(client, released, motion), test: null };
  const tested = await testCandidate(client, { released: { ...released, rollout: released.rollout }, test, signal }, motion);
  if (!tested) return { ...released, rollout: await takeBack(client, released.rollout, 'its candidate was not ready in time'), test: null };
  const { endpointId, to } = released.rollout;
  const step = isHeld ? () => client.waitRollout(endpointId, to, 0) : () => client.stepRollout(endpointId, { action: 'promote', to });
  const isPassed = tested.status === 'COMPLETED';
  const rollout = isPassed ? await step() : await takeBack(client, released.rollout, `its test input failed: ${describeEnd(tested)}`);
  return { ...released, rollout, test: tested };
}

type Test = {
  readonly released: DeployView & { readonly rollout: RolloutView };
  readonly test: TestInput;
  readonly signal: AbortSignal;
};

/** The job of the test once it has ended; undefined when its candidate did not become ready. Whatever stops the test takes the release back: nobody else would promote it. */
async function testCandidate(client: ApiClient, { released, test, signal }: Test, motion: Motion): Promise<JobView | undefined> {
  const { rollout } = released;
  const { endpointId, to } = rollout;
  const interruption = watchInterruption(signal);
  try {
    const candidate = await Promise.race([candidatePhase(client, released, motion), interruption.came]);
    if (candidate?.provedAt == null) return undefined;
    const finished = () => finishJob(client, endpointId, { ...test, releaseId: to });
    return await Promise.race([motion.phases.run('test', finished, describeEnd), interruption.came]);
  } catch (thrown) {
    await takeBack(client, rollout, `its test could not be run: ${messageOf(thrown)}`);
    throw thrown;
  } finally {
    interruption.release();
  }
}

function watchInterruption(signal: AbortSignal): { readonly came: Promise<never>; release(): void } {
  let release = () => {};
  const came = new Promise<never>((_resolve, reject) => {
    const stop = () => reject(new WherryError('WAIT_TIMEOUT', 'the deploy was interrupted'));
    release = () => signal.removeEventListener('abort', stop);
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
  });
  // Whoever races it hears of it; when it comes too late nobody does.
  came.catch(() => {});
  return { came, release };
}

/** Longest test: the server takes a held release back by itself a little later. */
const TEST_MS = 840_000;
/** Longest single wait for the test's job. */
const LOOK_MS = 20_000;

async function finishJob(client: ApiClient, endpointId: string, body: TestInput & { readonly releaseId: number }): Promise<JobView> {
  const end = performance.now() + TEST_MS;
  let job = await client.submit(endpointId, body);
  while (isLive(job)) {
    if (performance.now() > end) throw new WherryError('WAIT_TIMEOUT', `job '${job.id}' is still ${job.status} after ${TEST_MS / 1000} s`);
    job = await client.jobStatus(endpointId, job.id, LOOK_MS);
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
