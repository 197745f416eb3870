import { WherryError } from '../base/errors.js';
import type { BaseImage } from '../build/assemble.js';
import type { BaseImages } from '../build/bases.js';
import { readBlob } from '../image/source.js';
import type { Descriptor, Platform } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import type { Layout } from '../oci/layout.js';
import { CONFIG_LIMIT_BYTES, type Index, isIndex, parseImageConfig, parseManifest, refuseForeign } from '../oci/manifest.js';
import { findPlatform, formatPlatform, isPlatform, listPlatforms } from '../oci/platform.js';
import { parseReference } from '../oci/reference.js';
import type { RegistryClient } from '../registry/client.js';

export interface BaseImagesOptions {
  /** Keeps manifests and configs of bases: what a digest names never changes. */
  readonly layout: Layout;
  /** A new client for a registry; it is closed after use. */
  readonly open: (registry: string) => Promise<RegistryClient>;
}

/** Base images from their registries. Manifest and config are fetched once; layers only when somebody wants their bytes. */
export function openBaseImages({ layout, open }: BaseImagesOptions): BaseImages {
  async function using<T>(text: string, step: (client: RegistryClient, repository: string) => Promise<T>): Promise<T> {
    const { registry = 'docker.io', repository } = parseReference(text);
    const client = await open(registry);
    try {
      return await step(client, repository);
    } finally {
      await client.close();
    }
  }

  async function* openBlob(text: string, blob: Descriptor): AsyncIterable<Uint8Array> {
    const { registry = 'docker.io', repository } = parseReference(text);
    const client = await open(registry);
    try {
      yield* client.getBlob(repository, blob);
    } finally {
      await client.close();
    }
  }

  /** From the layout, else by `fetch` and then into it. */
  async function keep(digest: Digest, fetch: () => Promise<Uint8Array>): Promise<Uint8Array> {
    const known = await layout.readBytes(digest).catch(() => undefined);
    if (known) return known;
    const bytes = await fetch();
    await layout.putBytes(bytes);
    return bytes;
  }

  const readManifest = (text: string, digest: Digest) =>
    keep(digest, () => using(text, async (client, repository) => (await client.getManifest(repository, digest)).bytes));
  const readConfig = (text: string, config: Descriptor) =>
    keep(config.digest, () => readBlob({ getBlob: (blob) => openBlob(text, blob) }, config, CONFIG_LIMIT_BYTES));

  return {
    resolve: (text) =>
      using(text, async (client, repository) => (await client.getManifest(repository, parseReference(text).tag ?? 'latest')).digest),
    async pull(text, platform): Promise<BaseImage> {
      const { digest } = parseReference(text);
      if (!digest) throw new WherryError('REFERENCE_INVALID', `base '${text}' has no digest`);
      const found = parseManifest(await readManifest(text, digest));
      const manifest = isIndex(found) ? parseManifest(await readManifest(text, choosePlatform(found, text, platform))) : found;
      if (isIndex(manifest))
        throw new WherryError('MANIFEST_INVALID', `base image '${text}' is an index of indexes`, {
          hint: 'name one of the indexes that it lists, by digest',
        });
      refuseForeign(manifest, text);
      const config = parseImageConfig(await readConfig(text, manifest.config));
      if (manifest === found && !isPlatform(config, platform)) throw lacksPlatform(text, platform, [config]);
      return { reference: text, manifest, config, openBlob: (blob) => openBlob(text, blob) };
    },
  };
}

function choosePlatform(index: Index, text: string, platform: Platform): Digest {
  const found = findPlatform(index, platform);
  if (found) return found.digest;
  const offered = listPlatforms(index).map((entry) => entry.platform);
  throw lacksPlatform(text, platform, offered);
}

function lacksPlatform(text: string, platform: Platform, offered: readonly Platform[]): WherryError {
  const names = offered.map(formatPlatform);
  const what = names.length === 0 ? 'its index names no platform' : `it offers ${names.join(', ')}`;
  return new WherryError('IMAGE_UNKNOWN', `base image '${text}' has nothing for ${formatPlatform(platform)}: ${what}`, {
    hint: 'choose another base, or other platforms in wherry.yaml',
    detail: { platforms: names },
  });
}
