import type { Descriptor } from '../oci/descriptor.js';
import { type Digest, isDigest } from '../oci/digest.js';
import { type Index, isIndex, type Manifest } from '../oci/manifest.js';

/** What a manifest names: other manifests (an index) or blobs (an image or artifact), and what it refers to. */
export interface Parts {
  readonly manifests: readonly Descriptor[];
  /** Config and layers, also those that are never pushed. */
  readonly blobs: readonly Descriptor[];
  readonly subject: Digest | undefined;
}

/** The parts of a manifest (image-spec, manifest.md and image-index.md). */
export function partsOf(manifest: Manifest | Index): Parts {
  const subject = subjectOf(manifest);
  if (isIndex(manifest)) return { manifests: manifest.manifests, blobs: [], subject };
  return { manifests: [], blobs: [manifest.config, ...manifest.layers], subject };
}

/** The manifest that this one refers to (image-spec, manifest.md, "subject"). */
export function subjectOf(manifest: Manifest | Index): Digest | undefined {
  const digest = manifest.subject?.digest;
  return digest !== undefined && isDigest(digest) ? digest : undefined;
}
