import type { ApiClient } from '../api/client.js';
import type { DeployView, ReleaseOrigin, RolloutView, WorkerView } from '../api/resources.js';
import { messageOf, WherryError } from '../base/errors.js';
import { formatBytes } from '../base/size.js';
import { type BuiltImage, blobsOf, layersOf, measureBuilt } from '../build/built-image.js';
import type { ImageBlob } from '../build/layers.js';
import { isAtRest, parseReleaseName, type ReleaseName } from '../domain/release.js';
import { shortDigest } from '../oci/digest.js';
import { formatPlatform } from '../oci/platform.js';
import type { Project } from '../project/read.js';
import type { PushResult } from '../registry/push.js';
import type { Output } from './output.js';
import { colours, formatSize } from './output.js';
import type { Phases } from './phases.js';
import { type BuildOptions, buildProject, collectAfter, type ImagePlace, writeOutput } from './project-image.js';
import type { Embedded } from './project-push.js';

export interface Motion {
  readonly phases: Phases;
  readonly output: Output;
  readonly place: ImagePlace;
}

/** Builds with a phase line; says what was chosen by convention and what was left out. */
export async function buildPhase(project: Project, { phases, output, place }: Motion, options: BuildOptions = {}): Promise<BuiltImage> {
  for (const sentence of project.chosen) output.talk(`  ${sentence}`);
  const report = (line: string) => output.talk(colours.dim(`  ${line}`));
  const built = await phases.run('build', () => buildProject(project, place, { report, ...options }), describeLayers);
  for (const warning of [...project.warnings, ...built.warnings]) output.warn(warning);
  await collect(built, { output, place });
  checkBudget(project, built, { output, isStrict: options.isStrict === true });
  return built;
}

/** What cannot be removed is no reason for a build to fail. */
async function collect(built: BuiltImage, { output, place }: Pick<Motion, 'output' | 'place'>): Promise<void> {
  try {
    const collected = await collectAfter(built, place);
    if (collected && collected.count > 0) output.talk(`  removed ${formatBytes(collected.sizeBytes)} of builds that nothing used lately`);
  } catch (thrown) {
    if (thrown instanceof WherryError && thrown.code === 'CONFIG_INVALID') throw thrown;
    output.warn(`what earlier builds left could not be removed: ${messageOf(thrown)}`);
  }
}

/** Says when the image of a platform, the largest, is larger than its project allows. Throws BUDGET_EXCEEDED when warnings count as errors. */
function checkBudget(
  { budget }: Project,
  { images }: BuiltImage,
  { output, isStrict }: { readonly output: Output; readonly isStrict: boolean },
) {
  const [largest] = images.map((image) => ({ ...image, size: sizeOf(image.blobs) })).sort((a, b) => b.size - a.size);
  if (budget.imageBytes === null || largest === undefined || largest.size <= budget.imageBytes) return;
  const which = images.length > 1 ? `the image for ${formatPlatform(largest.platform)}` : 'the image';
  const message = `${which} has ${formatBytes(largest.size)}, its budget is ${formatBytes(budget.imageBytes)}`;
  if (!isStrict) return output.warn(`${message}; \`wherry image inspect\` says what is large`);
  throw new WherryError('BUDGET_EXCEEDED', message, { hint: '`wherry image inspect` says what is large; budget.imageSize sets the limit' });
}

const sizeOf = (blobs: readonly ImageBlob[]) => blobs.reduce((sum, blob) => sum + blob.size, 0);

function describeLayers(built: BuiltImage): string {
  const layers = layersOf(built).map(({ role, size, isCached }) => `${role} ${isCached ? 'cached' : formatBytes(size)}`);
  return [...(built.index ? [`${built.images.length} platforms`] : []), ...layers].join(' · ');
}

/** Writes the whole image as an OCI image layout (image-spec, image-layout.md) with a phase line. */
export async function outputPhase(built: BuiltImage, dir: string, { phases }: Motion): Promise<void> {
  await phases.run(
    'output',
    () => writeOutput(built, dir),
    () => `${dir}: ${formatBytes(sizeOf(blobsOf(built)))}`,
  );
}

export interface Pushed {
  readonly reference: string;
  readonly tags: readonly string[];
  readonly result: PushResult;
}

export interface PushPhase {
  readonly to: string | undefined;
  readonly embedded: Embedded | undefined;
  /** Tags that are versions may move. */
  readonly isForced?: boolean;
  readonly motion: Motion;
}

/** Pushes with a phase line. */
export async function pushPhase(built: BuiltImage, { to, embedded, isForced = false, motion }: PushPhase): Promise<Pushed> {
  // What speaks to registries is not loaded for a build.
  const { formatPushed, pushProject, targetOf } = await import('./project-push.js');
  const target = targetOf(built, to);
  let sent = 0;
  const result = await motion.phases.run(
    'push',
    (note) => {
      const onSent = (bytes: number) => {
        sent += bytes;
        note(`${formatBytes(sent)} sent`);
      };
      return pushProject({ built, to: target, place: motion.place, embedded, isForced, onSent });
    },
    ({ uploaded, skipped }) =>
      `${formatSize(measureBuilt(built))} · ${uploaded} of ${uploaded + skipped} blobs sent · ${shortDigest(built.digest)}`,
  );
  return { reference: formatPushed(target, built), tags: target.tags, result };
}

/** How long a deploy waits for its candidate before it hands the prompt back, or longer when the candidate has longer. */
const ROLLOUT_WAIT_MS = 450_000;
/** A candidate that was not started by then waits for room. */
const NO_ROOM_MS = 3_000;

export interface Deployment {
  readonly endpointId: string;
  /** Of an image, or the name of a release whose image it shall be. */
  readonly reference: string;
  readonly project: Project | undefined;
  readonly sourceRevision: string | null;
  /** A rollout that is still open gives way. */
  readonly supersede?: boolean;
  /** Percent of new jobs that the release gets until it is promoted. */
  readonly canary?: number | undefined;
  /** Its candidate waits to be promoted. */
  readonly hold?: boolean;
}

/** Makes the endpoint what the project says, releases the image and waits until it serves. Throws WORKER_START_TIMEOUT, BUILD_FAILED. */
export async function deployPhases(client: ApiClient, deployment: Deployment, motion: Motion) {
  const released = await releasePhases(client, deployment, motion);
  return { ...released, rollout: await candidatePhase(client, released, motion) };
}

/** Makes the endpoint what the project says and releases the image. Requests go on as before until a candidate is ready. */
export async function releasePhases(
  client: ApiClient,
  { endpointId, reference, project, sourceRevision, supersede = false, canary, hold = false }: Deployment,
  { phases, output }: Motion,
): Promise<DeployView> {
  const { isNew } = await phases.run(
    'endpoint',
    () => adaptEndpoint(client, endpointId, project),
    ({ text }) => text,
  );
  const spec = project && specOf(project);
  const body = {
    ...originOf(reference),
    sourceRevision,
    ...(spec && { spec }),
    ...(supersede && { supersede }),
    ...(canary !== undefined && { canary }),
    ...(hold && { hold }),
  };
  const deploy = () => (isNew ? deployNew(client, { endpointId, project, body }) : client.deploy(endpointId, body));
  const result = await phases.run(
    'release',
    () => tellingProgress(client, endpointId, output, deploy),
    ({ release, rollout }) => `r${release.number} ${shortDigest(release.image.digest)}${rollout ? '' : ' (nothing changed)'}`,
  );
  for (const warning of result.warnings) output.warn(warning);
  return result;
}

/** What a release of the project is made with, beside its image. */
export function specOf(project: Project) {
  return {
    env: project.env,
    secrets: project.secrets ?? [],
    args: project.args,
    ports: project.ports,
    resources: project.resources,
    volumes: project.volumes,
    // Said also when there is none: what a release before had would stay.
    models: project.models ?? [],
    placement: project.placement ?? {},
    isHardened: project.isHardened ?? false,
    initTimeoutMs: project.initTimeoutMs,
  };
}

/** Between two questions how far a deploy is. */
const PROGRESS_MS = 1_000;

/** Says how far the server is with an image while the work waits for it. */
async function tellingProgress<T>(client: ApiClient, endpointId: string, { talk }: Output, work: () => Promise<T>): Promise<T> {
  let told: string | null = null;
  const ask = async (): Promise<void> => {
    // Progress is worth no error.
    const { preparing } = await client.explainEndpoint(endpointId).catch(() => ({ preparing: null }));
    if (preparing !== null && preparing !== told) talk(`  release    ${preparing}`);
    told = preparing;
  };
  const asking = setInterval(() => void ask(), PROGRESS_MS);
  try {
    return await work();
  } finally {
    clearInterval(asking);
  }
}

/** An image by its reference, or that of a release by its name. */
export function originOf(text: string): ReleaseOrigin {
  const from = parseReleaseName(text);
  return from === undefined ? { reference: text } : { from };
}

/** Waits until one worker of the release is ready; null when nothing changed. Throws WORKER_START_TIMEOUT when it was taken back. */
export async function candidatePhase(
  client: ApiClient,
  { release: { endpointId, number }, rollout: open }: DeployView,
  { phases, output }: Motion,
): Promise<RolloutView | null> {
  if (!open) return null;
  const rollout = await phases.run('candidate', () => waitForCandidate(client, { endpointId, number }, output), describeCandidate);
  if (rollout.state !== 'REVERTED') return rollout;
  throw new WherryError(
    'WORKER_START_TIMEOUT',
    `release r${number} of '${endpointId}' did not start and was taken back: ${rollout.reason ?? 'no reason was given'}`,
    { hint: `nothing changed for requests; see \`wherry logs -e ${endpointId}\`` },
  );
}

/** Says soon when the candidate has no room on the host, and waits on. A parked endpoint gets no candidate: there is nothing to wait for. */
async function waitForCandidate(client: ApiClient, { endpointId, number }: ReleaseName, output: Output): Promise<RolloutView> {
  const { settings } = await client.getEndpoint(endpointId);
  if (settings.scale.max === 0) {
    output.warn('the release was not tried: scale.max is 0; its candidate starts once that is raised');
    return client.waitRollout(endpointId, number, 0);
  }
  const soon = await client.waitRollout(endpointId, number, NO_ROOM_MS);
  if (isAtRest(soon)) return soon;
  const isThrottled = ({ state, release, isCandidate }: WorkerView) => state === 'THROTTLED' && isCandidate && release === number;
  const throttled = (await client.listWorkers(endpointId)).find(isThrottled);
  if (throttled) output.warn(`the candidate has no room on the host yet: ${throttled.reason}; it starts when there is some`);
  return client.waitRollout(endpointId, number, ROLLOUT_WAIT_MS);
}

function describeCandidate({ state, share, provedAt, reason }: RolloutView): string {
  if (state === 'DONE') return 'one worker became ready; the release serves';
  if (state === 'CANARY') return `one worker became ready; the release gets ${share} % of new jobs`;
  if (state === 'PROVING') return provedAt === null ? 'none yet' : 'one worker became ready and waits';
  return `${state}${reason ? `: ${reason.split('\n')[0]}` : ''}`;
}

/** What an endpoint of the project is made with. */
export function settingsOf({ scale, limits, runtime }: Project) {
  return { scale, limits, ...(runtime && { runtime }) };
}

interface Adapted {
  /** It is made with its first release: an image that cannot be had leaves none. */
  readonly isNew: boolean;
  readonly text: string;
}

/** Makes an endpoint that is there what its project says. */
async function adaptEndpoint(client: ApiClient, id: string, project: Project | undefined): Promise<Adapted> {
  const known = (await client.listEndpoints()).find((endpoint) => endpoint.id === id);
  if (!known) return { isNew: true, text: `${id} is new` };
  const settings = project && settingsOf(project);
  if (!settings || isWithin(settings, known.settings)) return { isNew: false, text: `${id} unchanged` };
  await client.updateEndpoint(id, { settings });
  return { isNew: false, text: `${id} settings updated in place` };
}

type NewDeploy = Pick<Deployment, 'endpointId' | 'project'> & { readonly body: Parameters<ApiClient['deploy']>[1] };

async function deployNew(client: ApiClient, { endpointId, project, body }: NewDeploy): Promise<DeployView> {
  try {
    return await client.deploy(endpointId, { ...body, endpoint: project ? { settings: settingsOf(project) } : {} });
  } catch (thrown) {
    if (!(thrown instanceof WherryError && thrown.code === 'NAME_TAKEN')) throw thrown;
    // Another deploy was first.
    await adaptEndpoint(client, endpointId, project);
    return client.deploy(endpointId, body);
  }
}

function isWithin(wanted: unknown, actual: unknown): boolean {
  if (typeof wanted !== 'object' || wanted === null) return wanted === actual;
  return Object.entries(wanted).every(([key, value]) => isWithin(value, (actual as Record<string, unknown> | null)?.[key]));
}
