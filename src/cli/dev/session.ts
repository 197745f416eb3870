import type { ApiClient } from '../../api/client.js';
import { formatFailure } from '../../api/failure.js';
import type { DeployView, JobView } from '../../api/resources.js';
import { WherryError } from '../../base/errors.js';
import type { Environment } from '../../compose-settings.js';
import { readProject } from '../../project/read.js';
import { buildPhase, candidatePhase, type Motion, pushPhase, releasePhases } from '../motion.js';
import type { Output } from '../output.js';
import { createPhases } from '../phases.js';
import type { Embedded } from '../project-push.js';
import { formatValue, isLive, sendAndWait } from '../send-job.js';
import { readTestInput, type TestInputSource } from '../test-input.js';
import { bringSecrets } from './secrets.js';

/** A project between its files and the release that serves them. */
export interface Session {
  /**
   * Builds, pushes and releases what the files are now, and waits for the candidate. Builds come one after another; a candidate that is
   * not ready yet gives way to a newer one. Undefined when a newer reload took over; throws what build and deploy throw.
   */
  reload(): Promise<Reload | undefined>;
  /** Sends the test request to the release that serves; undefined before the first. */
  request(): Promise<JobView | undefined>;
  /** Resolves when no build or push is under way. */
  settle(): Promise<void>;
  /** The endpoint once its first release was made. */
  readonly endpointId: string | undefined;
  /** The number of the release that serves, as far as this session brought it there. */
  readonly release: number | undefined;
}

export interface Reload extends DeployView {
  readonly ms: number;
}

export interface SessionOptions {
  readonly dir: string;
  readonly dataDir: string;
  readonly environment: Environment;
  readonly client: ApiClient;
  readonly embedded: Embedded;
  readonly input: TestInputSource;
  readonly output: Output;
  readonly signal: AbortSignal;
  /** Called at the first release of an endpoint, before its candidate starts: its log is worth following from here. */
  onEndpoint(endpointId: string): void;
}

/** Longest wait for the answer of a test request. */
const ANSWER_MS = 300_000;

export function createSession(options: SessionOptions): Session {
  const { client, output } = options;
  let latest = 0;
  let turn: Promise<void> = Promise.resolve();
  let serving: { readonly endpointId: string; readonly release: number } | undefined;
  let endpointId: string | undefined;

  const told = new Set<string>();
  /** What a build warns of is seldom mended at the next change. */
  const warn = (text: string) => {
    if (!told.has(text)) output.warn(text);
    told.add(text);
  };

  const releaseNow = async (mine: number, motion: Motion): Promise<DeployView | undefined> => {
    if (mine !== latest) return undefined;
    const project = await readProject(options.dir);
    await bringSecrets(project, options);
    const built = await buildPhase(project, motion);
    const { reference } = await pushPhase(built, { to: undefined, embedded: options.embedded, motion });
    const deployment = { endpointId: project.name, reference, project, sourceRevision: built.revision, supersede: true };
    const released = await releasePhases(client, deployment, motion);
    if (endpointId !== project.name) options.onEndpoint(project.name);
    endpointId = project.name;
    return released;
  };

  return {
    get endpointId() {
      return endpointId;
    },
    get release() {
      return serving?.release;
    },
    async reload() {
      const mine = ++latest;
      const startedAt = performance.now();
      const { dataDir, environment, signal } = options;
      const motion = { phases: createPhases(output), output: { ...output, warn }, place: { dataDir, environment, signal } };
      const mineNow = turn.then(() => releaseNow(mine, motion));
      turn = mineNow.then(
        () => {},
        () => {},
      );
      try {
        const released = await mineNow;
        if (!released) return undefined;
        await candidatePhase(client, released, motion);
        serving = { endpointId: released.release.endpointId, release: released.release.number };
        return { ...released, ms: Math.round(performance.now() - startedAt) };
      } catch (thrown) {
        // Only the newest files are worth an error.
        if (mine !== latest) return undefined;
        throw thrown;
      }
    },
    settle: () => turn,
    async request() {
      if (!serving) return undefined;
      const body = await readTestInput(options.dir, options.input);
      const job = await sendAndWait(client, { endpointId: serving.endpointId, body, waitMs: ANSWER_MS, signal: options.signal }, output);
      if (isLive(job))
        throw new WherryError('WAIT_TIMEOUT', `job '${job.id}' is still ${job.status} after ${ANSWER_MS / 1000} s`, { hint: 'it goes on' });
      output.line({ type: 'answer', job }, formatAnswer(job));
      return job;
    },
  };
}

function formatAnswer({ id, status, output, error, delayTime, executionTime }: JobView): string {
  const head = `${id} ${status} · waited ${delayTime ?? 0} ms · ran ${executionTime ?? 0} ms`;
  if (status === 'COMPLETED') return `${head}\n${formatValue(output)}`;
  return error === undefined ? head : `${head}\n${formatFailure(error)}`;
}
