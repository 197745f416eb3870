import { WherryError } from '../base/errors.js';
import type { Descriptor, Platform } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { openLayout } from '../oci/layout.js';
import { type ImageConfig, LABELS, type Manifest } from '../oci/manifest.js';
import { parseReference } from '../oci/reference.js';
import type { HandlerProject, Project } from '../project/read.js';
import { type BaseImage, composeConfig, type ImageParts, writeImage } from './assemble.js';
import { readSourceState, type SourceState } from './git.js';
import { type BuiltLayer, buildLayer, type ImageBlob, type LayerStore } from './layers.js';
import { openBaseLock } from './lock.js';
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
}

export interface BaseImages {
  /** The digest of a name: that of an index when it is one. */
  resolve(reference: string): Promise<Digest>;
  /** Manifest and config of a pinned reference for a platform. */
  pull(reference: string, platform: Platform): Promise<BaseImage>;
}

export interface BuiltImage {
  readonly name: string;
  readonly digest: Digest;
  readonly descriptor: Descriptor;
  readonly manifest: Manifest;
  readonly config: ImageConfig;
  readonly layers: readonly BuiltLayer[];
  /** Config and all layers, those of the base first. */
  readonly blobs: readonly ImageBlob[];
  /** Of the base, as pinned; null for `scratch`. */
  readonly base: string | null;
  readonly revision: string | null;
  /** Versions that git's tags give the revision, the newest first. */
  readonly versions: readonly string[];
  readonly warnings: readonly string[];
}

/** Builds a handler project into an image, without a container engine. Throws BUILD_FAILED, LAYER_INVALID, CONFIG_INVALID, and what `bases` throws. */
export async function buildImage(request: BuildRequest): Promise<BuiltImage> {
  const { project } = request;
  const store = await openStore(request);
  const platform = platformOf(project);
  const base = await pinBase(project.base, { ...request, dir: project.dir, platform });
  // After the base: a lock file that was just written is a change of the project.
  const [source, planned] = await Promise.all([
    readSourceState(project.dir, request.sourceDateEpoch),
    planLayers({ ...request, platform, base, lockFile: store.layout.lockFile }),
  ]);
  const layers: BuiltLayer[] = [];
  for (const plan of planned.layers) layers.push(await buildLayer(plan, store));
  const config = composeConfig(layers, {
    platform,
    entrypoint: planned.entrypoint,
    env: planned.env,
    workingDir: '/wherry/app',
    labels: labelsOf({ project, planned, source, base }),
    created: formatTime(source.createdAt),
    base,
  });
  return finishImage({ project, source, parts: { config, base, layers, platform }, warnings: planned.warnings }, store);
}

/** Where the layers of a build go. */
export async function openStore({ layoutDir, cacheDir, zlibVersion, isFresh }: ImageWork): Promise<LayerStore> {
  return { layout: await openLayout(layoutDir), cacheDir, zlibVersion, isFresh };
}

export interface Finished {
  readonly project: Project;
  readonly source: SourceState;
  readonly parts: Omit<ImageParts, 'config'> & { readonly config: ImageConfig };
  /** The config's own bytes, when somebody else wrote it. */
  readonly configBytes?: Uint8Array;
  readonly warnings: readonly string[];
}

/** Writes the image under the project's name. */
export async function finishImage({ project, source, parts, configBytes, warnings }: Finished, store: LayerStore): Promise<BuiltImage> {
  const { layout } = store;
  const { config, base, layers } = parts;
  const { descriptor, manifest } = await writeImage({ ...parts, config: configBytes ?? JSON.stringify(config) }, store);
  await layout.putRef(project.name, descriptor);
  return {
    name: project.name,
    digest: descriptor.digest,
    descriptor,
    manifest,
    config,
    layers,
    blobs: [...baseBlobs(base), ...layers, { ...manifest.config, open: () => layout.openBlob(manifest.config.digest) }],
    base: base?.reference ?? null,
    revision: source.revision,
    versions: source.versions,
    warnings: [...warnings, ...platformWarnings(project)],
  };
}

type Pinning = Pick<ImageWork, 'isBaseUpdate' | 'bases'> & { readonly dir: string; readonly platform: Platform };

/** The base as `wherry.lock` has it; undefined for `scratch`. Throws CONFIG_INVALID and what `bases` throws. */
export async function pinBase(name: string, { dir, platform, isBaseUpdate, bases }: Pinning): Promise<BaseImage | undefined> {
  if (name === 'scratch') return undefined;
  const lock = await openBaseLock({ dir, isUpdate: isBaseUpdate, resolve: bases.resolve });
  return bases.pull(await lock.pin(name), platform);
}

function baseBlobs(base: BaseImage | undefined): readonly ImageBlob[] {
  return base ? base.manifest.layers.map(({ digest, size }) => ({ digest, size, open: () => base.openBlob(digest) })) : [];
}

function platformWarnings({ platforms }: Project): string[] {
  return platforms.length > 1 ? [`only the first platform, ${platforms[0]}, is built in this version`] : [];
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

export function baseLabels(name: string, { reference }: BaseImage): Record<string, string> {
  const { digest } = parseReference(reference);
  return { 'org.opencontainers.image.base.name': name, ...(digest && { 'org.opencontainers.image.base.digest': digest }) };
}

/** RFC 3339, of seconds since the epoch. */
export function formatTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
}

/** The platform that is built: the first. Throws BUILD_FAILED. */
export function platformOf({ platforms }: Project): Platform {
  const text = platforms[0] ?? 'linux/amd64';
  const [os = '', architecture = '', variant] = text.split('/');
  if (os !== 'linux' || architecture === '') {
    throw new WherryError('BUILD_FAILED', `platform '${text}' cannot be built`, { hint: 'use linux/amd64 or linux/arm64' });
  }
  return { os, architecture, ...(variant !== undefined && { variant }) };
}

/** Each language's tools are loaded only for its projects. */
async function planLayers(request: PlanRequest): Promise<Plan> {
  if (request.project.handler.kind === 'node') return (await import('./node-layers.js')).planNode(request);
  return (await import('./python-layers.js')).planPython(request);
}
