import { setTimeout as delay } from 'node:timers/promises';
import type { ApiClient, SettingsChange } from '../api/client.js';
import type { ReleaseOrigin, RolloutView } from '../api/resources.js';
import { messageOf } from '../base/errors.js';
import { parseWords } from '../base/shell-words.js';
import type { ReleaseSpec } from '../domain/release.js';
import { isObject } from './pointer.js';
import { Stop, stopping } from './stop.js';
import type { TestGroup, TestSettings } from './suite.js';

/** An endpoint that lives as long as its tests. */
export interface TestEndpoint {
  readonly endpointId: string;
  /** Of the image that runs; null when the server does not say. */
  readonly digest: string | null;
  /** Of that image, compressed; null when the server does not say. */
  readonly imageBytes: number | null;
  /** How many tests it takes at a time. */
  readonly parallel: number;
  readonly warnings: readonly string[];
  /** Aborts with a {@link Stop} when its release cannot serve. */
  readonly broken: AbortSignal;
  /** Removes it with its workers; gives a sentence for each thing that is left; idempotent. */
  close(): Promise<readonly string[]>;
}

export interface TestEndpointOptions {
  readonly client: ApiClient;
  readonly runId: string;
  /** Of the groups of a run, from 1. */
  readonly number: number;
  readonly group: TestGroup;
  readonly image: ReleaseOrigin;
  /** What the project says; the group's own settings come over it. */
  readonly spec: Partial<ReleaseSpec>;
  readonly settings: SettingsChange;
  /** The server outlives the run: it removes the endpoint by itself soon after the run was killed. */
  readonly isLeased: boolean;
  readonly signal: AbortSignal;
}

/** The label by which the endpoints of a run are found. */
export const RUN_LABEL = 'wherry-test';

const WATCH_MS = 30_000;
const PAUSE_MS = 500;
const CLOSE_MS = 20_000;
/** So long after the last renewal the endpoint expires. */
const LEASE_MS = 30_000;
const RENEW_MS = 5_000;

/** Makes an endpoint with the image for a group of tests. Throws what the server says; nothing is left then. */
export async function openTestEndpoint(options: TestEndpointOptions): Promise<TestEndpoint> {
  const { client, runId, number, group, isLeased, signal } = options;
  const { spec, warning } = await withoutGpu({ ...options.spec, ...specOf(group.settings, options.spec) }, client);
  const endpointId = `test-${runId}-${number}`;
  const settings = mergeSettings(options.settings, group.settings);
  const lease = isLeased ? { expiresInMs: LEASE_MS } : {};
  const made = await client.createEndpoint({ id: endpointId, settings, labels: { [RUN_LABEL]: runId }, ...lease });
  const closed = new AbortController();
  if (isLeased) renewLease(client, endpointId, closed.signal);
  const close = async (): Promise<readonly string[]> => {
    if (closed.signal.aborted) return [];
    closed.abort();
    return removeEndpoint(client, endpointId, isLeased);
  };
  try {
    const deployed = await stopping(signal, client.deploy(endpointId, { ...options.image, spec }));
    return {
      endpointId,
      digest: deployed.release.image.digest,
      imageBytes: deployed.size.bytes,
      parallel: Math.max(1, made.settings.scale.max),
      warnings: [...warning, ...deployed.warnings],
      broken: deployed.rollout ? watchRollout(client, deployed.rollout, closed.signal) : closed.signal,
      close,
    };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}

function renewLease(client: ApiClient, endpointId: string, closed: AbortSignal): void {
  // One that cannot be renewed now is the next time.
  const renew = (): void => void client.updateEndpoint(endpointId, { expiresInMs: LEASE_MS }).catch(() => {});
  const timer = setInterval(renew, RENEW_MS);
  closed.addEventListener('abort', () => clearInterval(timer), { once: true });
}

async function removeEndpoint(client: ApiClient, endpointId: string, isLeased: boolean): Promise<readonly string[]> {
  const late = new Promise<Error>((resolve) => {
    setTimeout(resolve, CLOSE_MS, new Error(`no answer after ${CLOSE_MS / 1000} s`)).unref();
  });
  const removed = client.removeEndpoint(endpointId).catch((thrown: unknown) => thrown);
  const fault = await Promise.race([removed, late]);
  if (fault === undefined || !isLeased) return [];
  return [`endpoint '${endpointId}' could not be removed, it expires by itself: ${messageOf(fault)}`];
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

/** A file that was written for another machine is to run on this one, too: what asks for GPUs runs without where there is none at all. */
async function withoutGpu(
  spec: Partial<ReleaseSpec>,
  client: ApiClient,
): Promise<{ readonly spec: Partial<ReleaseSpec>; readonly warning: readonly string[] }> {
  const { gpu, ...resources } = spec.resources ?? {};
  const { cuda: _, ...placement } = spec.placement ?? {};
  if (!gpu || (await client.status()).host.total.gpu > 0) return { spec, warning: [] };
  const warning = [`the server has no GPU: what asks for ${typeof gpu === 'number' ? `${gpu} of them` : `'${gpu}'`} runs without`];
  return { spec: { ...spec, resources, placement }, warning };
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

const GIBIBYTE = 2 ** 30;

function specOf({ endpointConfig, templateConfig }: TestSettings, before: Partial<ReleaseSpec>): Partial<ReleaseSpec> {
  const { env, dockerArgs, containerDiskInGb } = templateConfig;
  const { gpuIds } = endpointConfig;
  const pairs = Array.isArray(env) ? env.filter(isObject).map(({ key, value }) => [String(key), String(value ?? '')] as const) : [];
  const resources = {
    ...before.resources,
    ...(typeof containerDiskInGb === 'number' && containerDiskInGb > 0 && { diskBytes: containerDiskInGb * GIBIBYTE }),
    ...(typeof gpuIds === 'string' && gpuIds !== '' && { gpu: gpuIds }),
  };
  return {
    env: { ...before.env, ...Object.fromEntries(pairs) },
    ...(typeof dockerArgs === 'string' && dockerArgs !== '' && { args: parseWords(dockerArgs) }),
    resources,
  };
}

/** The verdict of all tests of a group whose endpoint could not be made. */
export function noEndpoint(thrown: unknown): Stop {
  if (thrown instanceof Stop) return thrown;
  return new Stop({ code: 'NO_ENDPOINT', text: `no endpoint could be made for it: ${messageOf(thrown)}` });
}
