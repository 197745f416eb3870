import { type ErrorExtras, WherryError } from '../base/errors.js';
import { type Descriptor, isDistributable, MEDIA_TYPES, type Platform } from './descriptor.js';
import { isDigest } from './digest.js';
import { LIST, OBJECT, OBJECTS, readShape, type Shape, SWITCH, TEXT, TEXT_BY_NAME, TEXTS } from './shape.js';

/** OCI image-spec, manifest.md. */
export interface Manifest {
  readonly schemaVersion: 2;
  readonly mediaType?: string;
  readonly artifactType?: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** OCI image-spec, image-index.md. */
export interface Index {
  readonly schemaVersion: 2;
  readonly mediaType?: string;
  readonly artifactType?: string;
  readonly manifests: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** OCI image-spec, config.md; only the fields wherry reads or writes. */
export interface ImageConfig {
  readonly created?: string;
  readonly architecture: string;
  readonly os: string;
  readonly variant?: string;
  readonly config?: {
    readonly Entrypoint?: readonly string[];
    readonly Cmd?: readonly string[];
    readonly Env?: readonly string[];
    readonly WorkingDir?: string;
    readonly User?: string;
    readonly Labels?: Readonly<Record<string, string>>;
  };
  readonly rootfs: { readonly type: 'layers'; readonly diff_ids: readonly string[] };
  readonly history?: readonly { readonly created?: string; readonly created_by?: string; readonly empty_layer?: boolean }[];
}

/** The largest config that is read, in bytes. */
export const CONFIG_LIMIT_BYTES = 8 * 1024 * 1024;

/** Labels that wherry writes into image configs and reads back. One documented prefix: `dev.wherry.`. */
export const LABELS = {
  /** `python@3.11` or `node@20`: the kind and line of interpreter the application layers were made for. */
  interpreter: 'dev.wherry.interpreter',
  /** `path:function` below /wherry/app. */
  handler: 'dev.wherry.handler',
  /** JSON list of the diffIDs of the application layers (dependencies, worker SDK, code), in order. */
  layers: 'dev.wherry.layers',
  /** The compressor and its version that made the layers' bytes. */
  encoder: 'dev.wherry.encoder',
  /** `scratch` when the image holds no interpreter. */
  base: 'dev.wherry.base',
} as const;

/**
 * Where application layers put their files: `/wherry/node_modules` or `/wherry/python` (dependencies), `/wherry/sdk`
 * (worker SDK), `/wherry/app` (code). One root, so that a runtime without containers can move it.
 */
export const APP_ROOT = '/wherry';

/** What each kind of manifest may call itself, the usual one first. */
const TYPES: Readonly<Record<'image' | 'index', readonly string[]>> = {
  image: [MEDIA_TYPES.manifest, MEDIA_TYPES.dockerManifest],
  index: [MEDIA_TYPES.index, MEDIA_TYPES.dockerManifestList],
};
/** Manifests nest five levels at most; what reads them may use a level of the stack for each. */
const DEPTH_LIMIT = 32;

const PLATFORM: Shape = { os: TEXT, architecture: TEXT, variant: TEXT };
const DESCRIPTOR: Shape = { mediaType: TEXT, urls: LIST, platform: OBJECT };

/** Parses a manifest or index. Throws MANIFEST_INVALID for anything that is neither, and for what could be taken for both. */
export function parseManifest(bytes: Uint8Array | string): Manifest | Index {
  const value = parseObject(bytes);
  const { schemaVersion, mediaType, artifactType, config, layers, manifests, subject } = value;
  if (schemaVersion === 1)
    throw invalid('schemaVersion is 1, which is not read any more', { hint: 'push the image again with a current tool' });
  if (schemaVersion !== 2) throw invalid('schemaVersion is not 2');
  if (isDeeper(value, DEPTH_LIMIT)) throw invalid(`it is nested deeper than ${DEPTH_LIMIT} levels`);
  const isList = manifests !== undefined;
  // One reader would take the layers, another the manifests: the same digest, two contents.
  if (isList && (config !== undefined || layers !== undefined)) throw invalid('it is an image and an index at once');
  const own = isList ? undefined : readDescriptor(config);
  const parts = isList ? manifests : layers;
  if (!Array.isArray(parts)) throw invalid('it has neither layers nor manifests');
  const read = parts.map(readDescriptor);
  const about = subject === undefined ? undefined : readDescriptor(subject);
  if (artifactType !== undefined && typeof artifactType !== 'string') throw invalid('artifactType is no text');
  const kind = isList ? 'index' : 'image';
  if (mediaType !== undefined && !TYPES[kind].includes(mediaType as string))
    throw invalid(`it is an ${kind} that calls itself '${String(mediaType)}'`);
  const found: object = { ...value, ...(isList ? { manifests: read } : { config: own, layers: read }), ...(about && { subject: about }) };
  return found as Manifest | Index;
}

/**
 * The media type of a manifest that came as `sent`: its own, which must be the same (distribution-spec, "Pulling manifests"), or, where it
 * names none, one of its kind. Throws MANIFEST_INVALID.
 */
export function mediaTypeOf(manifest: Manifest | Index, sent: string | undefined): string {
  const kind = isIndex(manifest) ? 'index' : 'image';
  const type = sent?.split(';')[0]?.trim().toLowerCase() || undefined;
  const { mediaType: own = type } = manifest;
  if (type !== undefined && own !== type) throw invalid(`it calls itself '${own}' but came as '${type}'`);
  if (own !== undefined && !TYPES[kind].includes(own)) throw invalid(`it is an ${kind} that came as '${own}'`);
  return own ?? (isIndex(manifest) ? MEDIA_TYPES.index : MEDIA_TYPES.manifest);
}

/** Throws MANIFEST_INVALID for a manifest whose parts are elsewhere: nothing is fetched from an address that a manifest names. */
export function refuseForeign(manifest: Manifest | Index, name: string): void {
  const parts = isIndex(manifest) ? manifest.manifests : [manifest.config, ...manifest.layers];
  const foreign = parts.find((part) => !isDistributable(part) || (part.urls ?? []).length > 0);
  if (!foreign) return;
  throw invalid(`'${name}' says that the bytes of '${foreign.digest}' are elsewhere`, {
    hint: 'use an image all of whose layers are in its registry',
  });
}

/** Tells an index from a manifest, which lists layers. */
export function isIndex(manifest: Manifest | Index): manifest is Index {
  return 'manifests' in manifest;
}

/** How large an image is on its way. */
export interface ImageSize {
  /** Config and layers, compressed as they are. */
  readonly bytes: number;
  readonly layers: number;
}

/** The size of an image out of its manifest alone. */
export function measureManifest({ config, layers }: Manifest): ImageSize {
  return { bytes: layers.reduce((sum, { size }) => sum + size, config.size), layers: layers.length };
}

const CONFIG: Shape = { ...PLATFORM, created: TEXT, config: OBJECT, rootfs: OBJECT, history: OBJECTS };
const RUNNING: Shape = { Entrypoint: TEXTS, Cmd: TEXTS, Env: TEXTS, WorkingDir: TEXT, User: TEXT, Labels: TEXT_BY_NAME };
const STEP: Shape = { created: TEXT, created_by: TEXT, empty_layer: SWITCH };

/** Parses an image config. Throws MANIFEST_INVALID. */
export function parseImageConfig(bytes: Uint8Array | string): ImageConfig {
  const value = readShape(parseObject(bytes) as Partial<ImageConfig>, CONFIG, (why) => invalid(`in the image config ${why}`));
  const { os, architecture, rootfs, config, history } = value;
  if (!Array.isArray(rootfs?.diff_ids) || !TEXTS.holds(rootfs.diff_ids)) throw invalid('the image config has no rootfs.diff_ids');
  if (!os || !architecture) throw invalid(`the image config names no ${os ? 'architecture' : 'os'}`);
  return {
    ...value,
    ...{ os, architecture, rootfs },
    ...(config && { config: readShape(config, RUNNING, (why) => invalid(`in the image config ${why}`)) }),
    ...(history && {
      history: history.map((step) => readShape(step, STEP, (why) => invalid(`in the history of the image config ${why}`))),
    }),
  };
}

function parseObject(bytes: Uint8Array | string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(typeof bytes === 'string' ? bytes : Buffer.from(bytes).toString('utf8'));
  } catch (cause) {
    throw invalid('it is not JSON', { cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid('it is not a JSON object');
  return value as Record<string, unknown>;
}

function readDescriptor(value: unknown): Descriptor {
  const descriptor = readShape((value ?? {}) as Partial<Descriptor>, DESCRIPTOR, (why) => invalid(`in a descriptor ${why}`));
  const { mediaType, digest, size, platform } = descriptor;
  if (mediaType === undefined) throw invalid('a descriptor has no mediaType');
  if (typeof digest !== 'string' || !isDigest(digest)) throw invalid(`a descriptor has a bad digest '${String(digest)}'`);
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) throw invalid(`a descriptor has a bad size '${String(size)}'`);
  return { ...descriptor, ...{ mediaType, digest, size }, ...(platform && { platform: readPlatform(platform) }) };
}

function readPlatform(value: Platform): Platform {
  const platform = readShape(value, PLATFORM, (why) => invalid(`in a platform ${why}`));
  if (platform.os !== undefined && platform.architecture !== undefined) return platform;
  throw invalid('a platform has no os or no architecture');
}

/** Whether objects and lists nest in more levels; goes no deeper itself. */
function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((inner) => isDeeper(inner, levels - 1));
}

function invalid(why: string, extras: ErrorExtras = {}): WherryError {
  return new WherryError('MANIFEST_INVALID', `manifest refused: ${why}`, extras);
}
