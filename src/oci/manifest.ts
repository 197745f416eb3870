import { WherryError } from '../base/errors.js';
import { type Descriptor, MEDIA_TYPES } from './descriptor.js';
import { isDigest } from './digest.js';

/** OCI image-spec, manifest.md. */
export interface Manifest {
  readonly schemaVersion: 2;
  readonly mediaType: string;
  readonly artifactType?: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** OCI image-spec, image-index.md. */
export interface Index {
  readonly schemaVersion: 2;
  readonly mediaType: string;
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

/** Parses a manifest or index. Throws MANIFEST_INVALID for anything that is neither. */
export function parseManifest(bytes: Uint8Array | string): Manifest | Index {
  const value = parseObject(bytes);
  if (value['schemaVersion'] !== 2) throw invalid('schemaVersion is not 2');
  if (Array.isArray(value['manifests'])) {
    value['manifests'].forEach(checkDescriptor);
    return value as unknown as Index;
  }
  checkDescriptor(value['config']);
  if (!Array.isArray(value['layers'])) throw invalid('it has neither layers nor manifests');
  value['layers'].forEach(checkDescriptor);
  if (value['subject'] !== undefined) checkDescriptor(value['subject']);
  return { mediaType: MEDIA_TYPES.manifest, ...value } as unknown as Manifest;
}

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

/** Parses an image config. Throws MANIFEST_INVALID. */
export function parseImageConfig(bytes: Uint8Array | string): ImageConfig {
  const value = parseObject(bytes);
  const diffIds = (value['rootfs'] as { diff_ids?: unknown } | undefined)?.diff_ids;
  if (!Array.isArray(diffIds)) throw invalid('the image config has no rootfs.diff_ids');
  return value as unknown as ImageConfig;
}

function parseObject(bytes: Uint8Array | string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(typeof bytes === 'string' ? bytes : Buffer.from(bytes).toString('utf8'));
  } catch (cause) {
    throw invalid('it is not JSON', cause);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid('it is not a JSON object');
  return value as Record<string, unknown>;
}

function checkDescriptor(value: unknown): void {
  const { mediaType, digest, size } = (value ?? {}) as Partial<Descriptor>;
  if (typeof mediaType !== 'string') throw invalid('a descriptor has no mediaType');
  if (typeof digest !== 'string' || !isDigest(digest)) throw invalid(`a descriptor has a bad digest '${String(digest)}'`);
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) throw invalid(`a descriptor has a bad size '${String(size)}'`);
}

function invalid(why: string, cause?: unknown): WherryError {
  return new WherryError('MANIFEST_INVALID', `manifest refused: ${why}`, { cause });
}
