import { setTimeout as delay } from 'node:timers/promises';
import type { ApiClient, SettingsChange } from '../api/client.js';
import type { RolloutView } from '../api/resources.js';
import { messageOf } from '../base/errors.js';
import type { ReleaseSpec } from '../domain/release.js';
import { isObject } from './pointer.js';
import { Stop } from './run-test.js';
import type { TestGroup, TestSettings } from './suite.js';

/** An endpoint that lives as long as its tests. */
export interface TestEndpoint {
  readonly endpointId: string;
  readonly digest: string;
  /** How many tests it takes at a time. */
  readonly parallel: number;
  readonly warnings: readonly string[];
  /** Aborts with a {@link Stop} when its release cannot serve. */
  readonly broken: AbortSignal;
  /** Removes it with its workers; idempotent. */
  close(): Promise<void>;
}

export interface TestEndpointOptions {
  readonly client: ApiClient;
  readonly runId: string;
  /** Of the groups of a run, from 1. */
  readonly number: number;
  readonly group: TestGroup;
  readonly image: string;
  /** What the project says; the group's own settings come over it. */
  readonly spec: Partial<ReleaseSpec>;
  readonly settings: SettingsChange;
  /** The server removes it by then if nobody else did. */
  readonly lifeMs: number;
}

/** The label by which the endpoints of a run are found. */
export const RUN_LABEL = 'wherry-test';

const WATCH_MS = 30_000;
const PAUSE_MS = 500;
const CLOSE_MS = 20_000;

/** Makes an endpoint with the image for a group of tests. Throws what the server says; nothing is left then. */
export async function openTestEndpoint(options: TestEndpointOptions): Promise<TestEndpoint> {
  const { client, runId, number, group, lifeMs } = options;
  const endpointId = `test-${runId}-${number}`;
  const settings = mergeSettings(options.settings, group.settings);
  const made = await client.createEndpoint({ id: endpointId, settings, labels: { [RUN_LABEL]: runId }, expiresInMs: lifeMs });
  const closed = new AbortController();
  const close = async (): Promise<void> => {
    if (closed.signal.aborted) return;
    closed.abort();
    await removeEndpoint(client, endpointId);
  };
  try {
    const spec = { ...options.spec, ...specOf(group.settings, options.spec) };
    const deployed = await client.deploy(endpointId, { reference: options.image, spec });
    const broken = deployed.rollout ? watchRollout(client, deployed.rollout, closed.signal) : closed.signal;
    return {
      endpointId,
      digest: deployed.release.image.digest,
      parallel: Math.max(1, made.settings.scale.max),
      warnings: deployed.warnings,
      broken,
      close,
    };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}

/** One that cannot be removed now expires by itself. */
async function removeEndpoint(client: ApiClient, endpointId: string): Promise<void> {
  const late = new Promise<void>((resolve) => setTimeout(resolve, CLOSE_MS).unref());
  await Promise.race([client.removeEndpoint(endpointId).catch(() => {}), late]);
}

/** Aborts when the release is taken back: its workers do not start, and no test will get an answer. */
export function watchRollout(client: ApiClient, { endpointId, to }: RolloutView, ended: AbortSignal): AbortSignal {
  const broken = new AbortController();
  const watch = async (): Promise<void> => {
    for (;;) {
      const seen = await client.waitRollout(endpointId, to, WATCH_MS);
      if (ended.aborted || seen.state === 'DONE' || seen.state === 'CANARY') return;
      if (seen.state === 'REVERTED')
        return broken.abort(new Stop({ code: 'WORKERS_FAIL', text: seen.reason ?? 'no worker of the image became ready' }));
      // One that is held answers at once.
      await delay(PAUSE_MS, undefined, { signal: ended });
    }
  };
  // A server that is away is found out by the tests themselves.
  watch().catch(() => {});
  return broken.signal;
}

/** Workers are stopped when they are idle: they would be removed in the next moment anyway. */
function mergeSettings({ scale, ...rest }: SettingsChange, { endpointConfig }: TestSettings): SettingsChange {
  const { workersMax, workersMin, idleTimeout } = endpointConfig;
  return {
    ...rest,
    scale: {
      ...scale,
      keep: 'none',
      min: numberOr(workersMin, 0),
      ...(workersMax !== undefined && { max: Math.max(1, numberOr(workersMax, 1)) }),
      ...(idleTimeout !== undefined && { idleMs: numberOr(idleTimeout, 5) * 1000 }),
    },
  };
}

const numberOr = (value: unknown, other: number): number => (typeof value === 'number' ? value : other);

const GIGABYTE = 1_000_000_000;

function specOf({ endpointConfig, templateConfig }: TestSettings, before: Partial<ReleaseSpec>): Partial<ReleaseSpec> {
  const { env, dockerArgs, containerDiskInGb } = templateConfig;
  const { gpuIds } = endpointConfig;
  const pairs = Array.isArray(env) ? env.filter(isObject).map(({ key, value }) => [String(key), String(value ?? '')] as const) : [];
  const resources = {
    ...before.resources,
    ...(typeof containerDiskInGb === 'number' && { diskBytes: containerDiskInGb * GIGABYTE }),
    ...(typeof gpuIds === 'string' && gpuIds !== '' && { gpu: gpuIds }),
  };
  return {
    env: { ...before.env, ...Object.fromEntries(pairs) },
    ...(typeof dockerArgs === 'string' && dockerArgs !== '' && { args: dockerArgs.split(/\s+/) }),
    resources,
  };
}

/** The verdict of all tests of a group whose endpoint could not be made. */
export function noEndpoint(thrown: unknown): Stop {
  return new Stop({ code: 'NO_ENDPOINT', text: `no endpoint could be made for it: ${messageOf(thrown)}` });
}
