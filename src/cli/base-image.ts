import { WherryError } from '../base/errors.js';
import type { BaseImage } from '../build/assemble.js';
import type { Platform } from '../oci/descriptor.js';
import { findPlatform, isIndex, type Manifest, parseImageConfig, parseManifest } from '../oci/manifest.js';
import { parseReference } from '../oci/reference.js';
import type { RegistryClient } from '../registry/client.js';

/** Fetches manifest and config of a base image; its layers are fetched when the build asks. Throws IMAGE_UNKNOWN. */
export async function pullBase(text: string, platform: Platform, open: (registry: string) => Promise<RegistryClient>): Promise<BaseImage> {
  const reference = parseReference(text);
  const client = await open(reference.registry ?? 'docker.io');
  const { repository } = reference;
  const manifest = await readManifest(client, { repository, wanted: reference.digest ?? reference.tag ?? 'latest', platform, text });
  const parts: Uint8Array[] = [];
  for await (const part of client.getBlob(repository, manifest.config.digest)) parts.push(part);
  return {
    reference: text,
    manifest,
    config: parseImageConfig(Buffer.concat(parts)),
    openBlob: (digest) => client.getBlob(repository, digest),
  };
}

type Wanted = { readonly repository: string; readonly wanted: string; readonly platform: Platform; readonly text: string };

async function readManifest(client: RegistryClient, { repository, wanted, platform, text }: Wanted): Promise<Manifest> {
  const pulled = await client.getManifest(repository, wanted);
  const found = parseManifest(pulled.bytes);
  if (!isIndex(found)) return found;
  const match = findPlatform(found, platform);
  if (!match) {
    throw new WherryError('IMAGE_UNKNOWN', `base image '${text}' has no image for ${platform.os}/${platform.architecture}`, {
      hint: 'choose another base, or another platform in wherry.yaml',
    });
  }
  const inner = await client.getManifest(repository, match.digest);
  const manifest = parseManifest(inner.bytes);
  if (isIndex(manifest)) throw new WherryError('MANIFEST_INVALID', `base image '${text}' is an index of indexes`);
  return manifest;
}
