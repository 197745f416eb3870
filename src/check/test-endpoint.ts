import { setTimeout as delay } from 'node:timers/promises';
import type { ApiClient, SettingsChange } from '../api/client.js';
import { noticeInput, readForeignSettings, readForeignSpec, readWishes, refuseUnserved } from '../api/foreign-input.js';
import type { ReleaseOrigin, RolloutView } from '../api/resources.js';
import { messageOf } from '../base/errors.js';
import type { ReleaseSpec } from '../domain/release.js';
import { grantWishes, type WishedHost } from '../domain/wishes.js';
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

/** An image with what its project says; a group's own settings come over that. */
export interface ImageUnderTest {
  readonly origin: ReleaseOrigin;
  readonly spec: Partial<ReleaseSpec>;
  readonly settings: SettingsChange;
}

export interface TestEndpointOptions {
  readonly client: ApiClient;
  readonly runId: string;
  /** Of the groups of a run, from 1. */
  readonly number: number;
  readonly group: TestGroup;
  readonly image: ImageUnderTest;
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
  const { client, runId, number, group, image, isLeased, signal } = options;
  const { spec, warnings } = meantBy(group.settings, image.spec, (await client.status()).host);
  const endpointId = `test-${runId}-${number}`;
  const settings = mergeSettings(image.settings, group.settings);
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
    const deployed = await stopping(signal, client.deploy(endpointId, { ...image.origin, spec }));
    return {
      endpointId,
      digest: deployed.release.image.digest,
      imageBytes: deployed.size.bytes,
      parallel: Math.max(1, made.settings.scale.max),
      warnings: [...warnings, ...deployed.warnings],
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

interface Meant {
  readonly spec: Partial<ReleaseSpec>;
  readonly warnings: readonly string[];
}

/** What a group runs: its own words over the project's, as far as the server's host has it. A file that was written for another machine is to run there, too. */
function meantBy({ endpointConfig, templateConfig }: TestSettings, before: Partial<ReleaseSpec>, host: WishedHost): Meant {
  refuseUnserved(endpointConfig);
  const own = readForeignSpec(templateConfig, before);
  const spec = { ...before, ...own, ...(own.env && { env: { ...before.env, ...own.env } }) };
  const { change, notices } = grantWishes(spec, readWishes(endpointConfig), host);
  const rest = withoutGpu({ ...spec, ...change }, host);
  return { spec: rest.spec, warnings: [...noticeInput(endpointConfig), ...notices, ...rest.warnings] };
}

/** What asks for GPUs runs without where there is none at all. */
function withoutGpu(spec: Partial<ReleaseSpec>, { total }: WishedHost): Meant {
  const { gpu, ...resources } = spec.resources ?? {};
  const { cuda: _, ...placement } = spec.placement ?? {};
  if (!gpu || total.gpu > 0) return { spec, warnings: [] };
  const warning = `the server has no GPU: what asks for ${typeof gpu === 'number' ? `${gpu} of them` : `'${gpu}'`} runs without`;
  return { spec: { ...spec, resources, placement }, warnings: [warning] };
}

/** Workers are stopped when they are idle: they would be removed in the next moment anyway. */
function mergeSettings({ scale, limits, ...rest }: SettingsChange, { endpointConfig }: TestSettings): SettingsChange {
  const own = readForeignSettings(endpointConfig);
  const { max } = own.scale;
  return {
    ...rest,
    scale: { ...scale, min: 0, ...own.scale, ...(max !== undefined && { max: Math.max(1, max) }), keep: 'none' },
    limits: { ...limits, ...own.limits },
  };
}

/** The verdict of all tests of a group whose endpoint could not be made. */
export function noEndpoint(thrown: unknown): Stop {
  if (thrown instanceof Stop) return thrown;
  return new Stop({ code: 'NO_ENDPOINT', text: `no endpoint could be made for it: ${messageOf(thrown)}` });
}
