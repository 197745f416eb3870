import { type Layout, openLayout } from '../oci/layout.js';
import { LABELS } from '../oci/manifest.js';
import { parseReference } from '../oci/reference.js';
import type { HandlerProject } from '../project/read.js';
import { type BaseImage, composeConfig } from './assemble.js';
import { type BaseImages, type PlatformBase, pinBases } from './bases.js';
import { type BuiltImage, finishImage, type PlatformParts } from './built-image.js';
import { readSourceState, type SourceState } from './git.js';
import { type BuiltLayer, createLayerMaker, type LayerStore } from './layers.js';
import type { Plan, PlanRequest } from './plan.js';

export interface BuildRequest extends Omit<PlanRequest, 'platform' | 'base' | 'lockFile'>, ImageWork {}

/** What every kind of build needs, whatever the project is made of. */
export interface ImageWork {
  /** OCI layout that receives the image; blobs of the base and streamed layers stay where they are. */
  readonly layoutDir: string;
  /** Remembers what was made for what. */
  readonly cacheDir: string;
  readonly sourceDateEpoch: string | undefined;
  readonly zlibVersion: string;
  /** Ask the registry again what the base's name means. */
  readonly isBaseUpdate: boolean;
  /** Hash and pack everything again. */
  readonly isFresh: boolean;
  /** The registry side of base images; used only when the base is not `scratch`. */
  readonly bases: BaseImages;
  /** Ends the build with its reason, and the tools that it runs. */
  readonly signal: AbortSignal;
}

/** Builds a handler project into an image, without a container engine. Throws BUILD_FAILED, LAYER_INVALID, CONFIG_INVALID, and what `bases` throws. */
export async function buildImage(request: BuildRequest): Promise<BuiltImage> {
  const { project } = request;
  const store = await openStore(request);
  const bases = await pinBases(project.base, request);
  // After the base: a lock file that was just written is a change of the project.
  const [source, plans] = await Promise.all([
    readSourceState(project.dir, request.sourceDateEpoch),
    planPlatforms(request, { bases, lockFile: store.layout.lockFile }),
  ]);
  const makeLayer = createLayerMaker(store);
  const images: PlatformParts[] = [];
  for (const { planned, platform, base } of plans) {
    const layers: BuiltLayer[] = [];
    for (const plan of planned.layers) {
      request.signal.throwIfAborted();
      layers.push(await makeLayer(plan));
    }
    const config = composeConfig(layers, {
      platform,
      entrypoint: planned.entrypoint,
      env: planned.env,
      workingDir: '/wherry/app',
      labels: labelsOf({ project, planned, source, base }),
      created: formatTime(source.createdAt),
      base,
    });
    images.push({ config, base, layers, platform });
  }
  return finishImage({ project, source, images, warnings: plans.flatMap(({ planned }) => planned.warnings) }, store);
}

type PlatformPlan = PlatformBase & { readonly planned: Plan };
type Planning = Pick<PlanRequest, 'lockFile'> & { readonly bases: readonly PlatformBase[] };

/** One platform after another, so that their installers do not talk at the same time. */
async function planPlatforms(request: BuildRequest, { bases, lockFile }: Planning): Promise<readonly PlatformPlan[]> {
  const plans: PlatformPlan[] = [];
  for (const each of bases) plans.push({ ...each, planned: await planLayers({ ...request, ...each, lockFile }) });
  return plans;
}

/** Where the layers of a build go. */
export async function openStore({ layoutDir, cacheDir, zlibVersion, isFresh, signal }: ImageWork): Promise<LayerStore> {
  const opened = await openLayout(layoutDir);
  const layout: Layout = { ...opened, writeBlob: (source, expected) => opened.writeBlob(stopping(source, signal), expected) };
  return { layout, cacheDir, zlibVersion, isFresh };
}

async function* stopping(source: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncIterable<Uint8Array> {
  for await (const part of source) {
    signal.throwIfAborted();
    yield part;
  }
}

interface Labelled {
  readonly project: HandlerProject;
  readonly planned: Plan;
  readonly source: SourceState;
  readonly base: BaseImage | undefined;
}

/** Labels of the OCI image-spec (annotations.md) and wherry's own. */
function labelsOf({ project, planned, source, base }: Labelled): Record<string, string> {
  const { name, handler } = project;
  return {
    ...sourceLabels(name, source),
    ...(base && baseLabels(project.base, base)),
    [LABELS.interpreter]: planned.interpreter,
    [LABELS.handler]: `${handler.path}:${handler.function}`,
    [LABELS.base]: project.base,
  };
}

/** Where an image is from (OCI image-spec, annotations.md). */
export function sourceLabels(name: string, { source, revision, createdAt }: SourceState): Record<string, string> {
  return {
    'org.opencontainers.image.title': name,
    'org.opencontainers.image.created': formatTime(createdAt),
    ...(source && { 'org.opencontainers.image.source': source }),
    ...(revision && { 'org.opencontainers.image.revision': revision }),
  };
}

/** The labels that name the base of an image (OCI image-spec, annotations.md). */
export function baseLabels(name: string, { reference }: BaseImage): Record<string, string> {
  const { digest } = parseReference(reference);
  return { 'org.opencontainers.image.base.name': name, ...(digest && { 'org.opencontainers.image.base.digest': digest }) };
}

/** RFC 3339, of seconds since the epoch. */
export function formatTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
}

/** Each language's tools are loaded only for its projects. */
async function planLayers(request: PlanRequest): Promise<Plan> {
  if (request.project.handler.kind === 'node') return (await import('./node-layers.js')).planNode(request);
  return (await import('./python-layers.js')).planPython(request);
}
