import { isEqual } from '../base/equal.js';
import { WherryError } from '../base/errors.js';
import { type Endpoint, nameTaken } from '../domain/endpoint.js';
import { noticePlacement } from '../domain/placement.js';
import {
  formatRelease,
  formatReleaseName,
  type Release,
  type ReleaseImage,
  type ReleaseSpec,
  type RolloutPlan,
  rolloutOpen,
  WHOLE_ROLLOUT,
} from '../domain/release.js';
import { parseVolume, variableOf } from '../domain/volume.js';
import { VOLUME_ROOT } from '../domain/worker-environment.js';
import { isFloating, parseReference } from '../oci/reference.js';
import type { Runtime } from '../runtime/runtime.js';
import { newEndpoint } from './births.js';
import type { Core, WantedModels } from './core.js';
import type { DeployRequest, DeployResult, NewEndpoint } from './engine.js';
import { requireEndpoint, requireRelease } from './jobs.js';
import { resolveModels } from './models.js';
import { endRollout, findOpenRollout } from './rollout.js';
import { listChanged, openEnv } from './secrets.js';

/**
 * Makes a release: the reference is resolved once, or the image of another release is taken as it is; every blob is kept and verified,
 * the runtime gets the image ready; then the release is stored and its rollout begins. Nothing changes for jobs before a worker of it is
 * ready. Throws IMAGE_UNKNOWN, MODEL_UNKNOWN, MODEL_UNAVAILABLE, DENIED, REFERENCE_INVALID, DIGEST_INVALID, RUNTIME_REFUSED, ROLLOUT_OPEN,
 * ENDPOINT_UNKNOWN, RELEASE_UNKNOWN, SECRET_UNKNOWN; where it makes the endpoint, too, NAME_TAKEN, NAME_INVALID.
 */
export async function deploy(core: Core, endpointId: string, request: DeployRequest): Promise<DeployResult> {
  if (!request.endpoint) return makeRelease(core, await requireEndpoint(core, endpointId), request);
  const endpoint = newEndpoint({ id: endpointId, ...request.endpoint }, core.clock.now());
  return core.births.attend(endpoint, async () => {
    // The store decides; who has to pull an image should hear of it before.
    if (await core.store.getEndpoint(endpointId)) throw nameTaken(endpointId);
    return makeRelease(core, endpoint, request);
  });
}

async function makeRelease(core: Core, endpoint: Endpoint, request: DeployRequest): Promise<DeployResult> {
  const { id: endpointId } = endpoint;
  const { env } = await openEnv(core, endpointId, request.spec);
  if (!request.isSuperseding) await closeUnproven(core, endpoint);
  const { image, warnings, ...origin } = await chooseImage(core, endpointId, request);
  const spec = await resolveSpec(core, request.spec, env);
  // Not before there is something to give way to.
  if (request.isSuperseding) await closeOpen(core, endpointId, 'superseded: a newer release came');
  // In this order: what ends in between serves, and is not released once more.
  const open = await findOpenRollout(core, endpointId);
  const active = request.endpoint ? undefined : await activeRelease(core, endpointId);
  if (active && isSameRelease(active, image, spec)) {
    return { release: active, rollout: null, warnings, size: await core.images.measure(active.image) };
  }
  if (open) throw rolloutOpen(open);
  const { share = 100, holdMs = null } = request;
  const isAlone = !active && share < 100;
  return store(core, {
    image,
    warnings: isAlone ? [...warnings, 'no release serves yet that a canary could stand beside: this one gets all jobs'] : warnings,
    plan: { share: isAlone ? 100 : share, holdMs, reason: null },
    release: { ...origin, endpointId, author: request.author, spec },
    ...(request.endpoint && { newEndpoint: { id: endpointId, ...request.endpoint } }),
  });
}

/** A release names the bytes of its models, as it does those of its image. Throws as {@link resolveModels} does. */
async function resolveSpec(core: Core, spec: ReleaseSpec, env: WantedModels['env']): Promise<ReleaseSpec> {
  const { models = [] } = spec;
  return models.length === 0 ? spec : { ...spec, models: await resolveModels(core, { models, env }) };
}

type Chosen = Pick<Release, 'image' | 'source' | 'sourceRevision'> & Pick<DeployResult, 'warnings'>;

async function chooseImage(core: Core, endpointId: string, { from, sourceRevision }: DeployRequest): Promise<Chosen> {
  if ('reference' in from) {
    const image = await core.images.resolve(from.reference, {
      endpointId,
      ...(from.credential !== undefined && { credential: from.credential }),
    });
    return { image, warnings: tagWarnings(image), source: 'deploy', sourceRevision };
  }
  await requireEndpoint(core, from.release.endpointId);
  const origin = await requireRelease(core, from.release.endpointId, from.release.number);
  const image = await core.images.retainFor(origin.image, { endpointId });
  return { image, warnings: [], source: `promote:${formatReleaseName(from.release)}`, sourceRevision: origin.sourceRevision };
}

/** Makes an earlier release's image and spec a new release; its bytes are here, so no other registry is asked. */
export async function rollback(
  core: Core,
  endpointId: string,
  { release, author, reason }: { readonly release?: number; readonly author: string; readonly reason?: string },
): Promise<DeployResult> {
  const endpoint = await requireEndpoint(core, endpointId);
  await closeUnproven(core, endpoint);
  const target = await requireRelease(core, endpointId, release ?? (await formerRelease(core, endpoint)));
  if (target.number === endpoint.activeRelease) {
    const size = await core.images.measure(target.image);
    return { release: target, rollout: null, warnings: ['this release serves already'], size };
  }
  const { image, spec, sourceRevision } = target;
  await openEnv(core, endpointId, spec);
  const changed = await listChanged(core, spec, target.createdAt);
  return store(core, {
    image,
    warnings: changed.map((name) => `the secret '${name}' got another value after ${formatRelease(target.number)} was made, and keeps it`),
    plan: { ...WHOLE_ROLLOUT, reason: reason ?? null },
    release: { endpointId, author, source: `rollback:${formatRelease(target.number)}`, sourceRevision, spec },
  });
}

type Planned = {
  readonly image: ReleaseImage;
  readonly warnings: readonly string[];
  readonly plan: RolloutPlan;
  readonly release: Omit<Release, 'number' | 'createdAt' | 'image'>;
  /** Of an endpoint that is made with it. */
  readonly newEndpoint?: NewEndpoint;
};

async function store(core: Core, { image, warnings, plan, release, newEndpoint: wanted }: Planned): Promise<DeployResult> {
  await core.images.verify(image);
  const size = await core.images.measure(image);
  const runtime = await core.runtimes.choose(wanted ?? (await requireEndpoint(core, release.endpointId)), image, release.spec);
  const begunAt = core.clock.now();
  await prepare(core, { endpointId: release.endpointId, image, runtime });
  const now = core.clock.now();
  core.meter.recordPrepare(release.endpointId, now - begunAt);
  const made = wanted && { endpoint: newEndpoint(wanted, now) };
  const added = await core.store.addRelease({ ...release, image, createdAt: now }, plan, now, made);
  core.wake(release.endpointId);
  return { ...added, warnings: [...warnings, ...noticePlace(core, release.spec, runtime)], size };
}

interface Preparation {
  readonly endpointId: string;
  readonly image: ReleaseImage;
  readonly runtime: Runtime;
}

/** Who deploys waits for it, and may ask how far it is. */
async function prepare({ preparations }: Core, { endpointId, image, runtime }: Preparation): Promise<void> {
  preparations.set(endpointId, 'its image is made ready');
  try {
    const { repository, digest } = image;
    await runtime.prepare({ repository, digest }, (text) => void preparations.set(endpointId, text));
  } finally {
    preparations.delete(endpointId);
  }
}

/** What the author should know of where its workers run. */
function noticePlace({ capacity }: Core, spec: ReleaseSpec, { capabilities: { gpu, hasMounts } }: Runtime): readonly string[] {
  const volumes = hasMounts ? [] : spec.volumes.map(parseVolume);
  return [
    ...noticePlacement(spec, capacity.node, gpu),
    ...volumes.map((volume) => `volume '${volume.name}': a process finds it where ${variableOf(volume)} says, not at ${volume.path}`),
    ...(hasMounts || !spec.models ? [] : [`models: a process finds them where HF_HUB_CACHE says, not below ${VOLUME_ROOT}`]),
  ];
}

/** A release that could not be tried (max 0) gives way to the next. */
async function closeUnproven(core: Core, { id, settings }: Endpoint): Promise<void> {
  if (settings.scale.max === 0) await closeOpen(core, id, 'never tried: max was 0, and a newer release came');
}

async function closeOpen(core: Core, endpointId: string, reason: string): Promise<void> {
  const open = await findOpenRollout(core, endpointId);
  if (open) await endRollout(core, { endpointId, to: open.to, state: 'REVERTED', reason });
}

async function formerRelease({ store: { listRollouts } }: Core, { id, activeRelease: active }: Endpoint): Promise<number> {
  const former = (await listRollouts(id)).find(({ to, state }) => state === 'DONE' && to !== active);
  if (former) return former.to;
  throw new WherryError('RELEASE_UNKNOWN', `endpoint '${id}' has no earlier release that served`, { hint: '`wherry releases` lists them' });
}

/** Now, not when the deploy began: another one may have ended since. */
async function activeRelease(core: Core, id: string): Promise<Release | undefined> {
  const { activeRelease: number } = await requireEndpoint(core, id);
  return number === null ? undefined : core.store.getRelease(id, number);
}

function isSameRelease(active: Release, image: ReleaseImage, spec: ReleaseSpec): boolean {
  return active.image.digest === image.digest && active.image.reference === image.reference && isEqual(active.spec, spec);
}

/** A tag that moves is pinned like any other; the author should know that the name does not say what runs. */
function tagWarnings({ reference, digest }: ReleaseImage): string[] {
  const named = parseReference(reference);
  if (!isFloating(named)) return [];
  const what = named.tag === undefined ? 'has no tag' : "has the tag 'latest'";
  return [`${reference} ${what}: pinned to ${digest}; name a version tag or the digest, so that the reference says what runs`];
}
