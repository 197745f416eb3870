import type { ApiClient } from '../api/client.js';
import type { DeployView, JobView, RolloutView } from '../api/resources.js';
import { messageOf, WherryError } from '../base/errors.js';
import type { RunReport } from '../check/result.js';
import { formatRelease } from '../domain/release.js';
import type { Gate, Passage, Released } from './gate.js';
import { candidatePhase, type Deployment, type Motion, releasePhases } from './motion.js';

export interface RollOut extends Deployment {
  /** What its candidate has to pass before any job reaches it; undefined: nothing. */
  readonly gate: Gate | undefined;
  readonly signal: AbortSignal;
}

export interface RolledOut extends DeployView {
  /** The job of the test input; null when there was none. */
  readonly test: JobView | null;
  /** Of the project's tests; null when they were not run. */
  readonly report: RunReport | null;
}

/**
 * Releases an image: its candidate becomes ready, passes its gate, and only then the release serves, or begins as a canary. A gate that is
 * not passed takes the release back; the one before never stopped. Throws as `releasePhases` and `candidatePhase` do.
 */
export async function rollOut(client: ApiClient, { gate, signal, ...deployment }: RollOut, motion: Motion): Promise<RolledOut> {
  const isHeld = deployment.hold === true;
  const released = await releasePhases(client, { ...deployment, hold: isHeld || gate !== undefined }, motion);
  const untested = { test: null, report: null };
  if (!gate || !released.rollout) return { ...released, rollout: await candidatePhase(client, released, motion), ...untested };
  const passage = await tryCandidate(client, { released: { ...released, rollout: released.rollout }, gate, signal }, motion);
  if (!passage)
    return { ...released, rollout: await takeBack(client, released.rollout, 'its candidate was not ready in time'), ...untested };
  const { endpointId, to } = released.rollout;
  const step = isHeld ? () => client.waitRollout(endpointId, to, 0) : () => client.stepRollout(endpointId, { action: 'promote', to });
  const { isPassed, text, job, report } = passage;
  const what = report === null ? 'its test input failed' : 'its tests failed';
  const rollout = isPassed ? await step() : await takeBack(client, released.rollout, `${what}: ${text}`);
  return { ...released, rollout, test: job, report };
}

type Trial = {
  readonly released: Released;
  readonly gate: Gate;
  readonly signal: AbortSignal;
};

/** How the gate was passed; undefined when the candidate did not become ready. Whatever stops the gate takes the release back: nobody else would promote it. */
async function tryCandidate(client: ApiClient, { released, gate, signal }: Trial, motion: Motion): Promise<Passage | undefined> {
  const { rollout } = released;
  const interruption = watchInterruption(signal);
  try {
    const candidate = await Promise.race([candidatePhase(client, released, motion), interruption.came]);
    if (candidate?.provedAt == null) return undefined;
    const passing = motion.phases.run(
      'test',
      () => gate.pass(released),
      ({ text }) => text,
    );
    return await Promise.race([passing, interruption.came]);
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

/** The rollout as it is then; somebody may have ended it, for instance because the candidate crashed. */
async function takeBack(client: ApiClient, { endpointId, to }: RolloutView, reason: string): Promise<RolloutView> {
  try {
    return await client.stepRollout(endpointId, { action: 'abort', to, reason });
  } catch (thrown) {
    if (!(thrown instanceof WherryError && thrown.code === 'ROLLOUT_UNKNOWN')) throw thrown;
    return client.waitRollout(endpointId, to, 0);
  }
}

/** What `wherry deploy` says of the test and of where the release is now. */
export function describeRollOut({ release: { endpointId, number }, rollout, test, report }: RolledOut): readonly string[] {
  const name = `${endpointId} ${formatRelease(number)}`;
  if (rollout?.state === 'REVERTED')
    return [`${name} was taken back: ${rollout.reason ?? ''}`, 'the release before it never stopped serving'];
  const passed = test ? ['the test input passed'] : report ? [`all ${report.passed} tests passed; the release keeps their report`] : [];
  if (rollout?.state === 'CANARY')
    return [
      ...passed,
      `${name} gets ${rollout.share} % of new jobs; \`wherry promote -e ${endpointId}\` gives it all, \`wherry abort\` none`,
    ];
  if (rollout?.state === 'PROVING' && rollout.provedAt !== null)
    return [...passed, `${name} waits ${(rollout.holdMs ?? 0) / 1000} s for \`wherry promote -e ${endpointId}\`, else it is taken back`];
  return passed;
}
