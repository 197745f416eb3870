import { WherryError } from '../base/errors.js';
import type { Platform } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { parsePlatform } from '../oci/platform.js';
import type { Project } from '../project/read.js';
import type { BaseImage } from './assemble.js';
import { openBaseLock } from './lock.js';

/** The registry side of base images. */
export interface BaseImages {
  /** The digest of a name: that of an index when it is one. */
  resolve(reference: string): Promise<Digest>;
  /** Manifest and config of a pinned reference for a platform. Throws IMAGE_UNKNOWN when the base lacks it. */
  pull(reference: string, platform: Platform): Promise<BaseImage>;
}

/** A platform that is built for, and what its image is built on; undefined for `scratch`. */
export interface PlatformBase {
  readonly platform: Platform;
  readonly base: BaseImage | undefined;
}

/** The platforms of a project, in its order. Throws BUILD_FAILED for one that no image can be built for. */
export function platformsOf({ platforms }: Project): readonly Platform[] {
  return platforms.map((text) => {
    const platform = parsePlatform(text);
    if (platform.os === 'linux') return platform;
    throw new WherryError('BUILD_FAILED', `platform '${text}' cannot be built`, { hint: 'use linux/amd64 or linux/arm64' });
  });
}

export interface Pinning {
  readonly project: Project;
  /** Ask the registry again what the name means. */
  readonly isBaseUpdate: boolean;
  readonly bases: BaseImages;
}

/**
 * The base for each platform of the project. Its name means one digest for all of them, that of `wherry.lock`. Throws BUILD_FAILED,
 * CONFIG_INVALID and what `bases` throws.
 */
export async function pinBases(name: string, { project, isBaseUpdate, bases }: Pinning): Promise<readonly PlatformBase[]> {
  const platforms = platformsOf(project);
  if (name === 'scratch') return platforms.map((platform) => ({ platform, base: undefined }));
  const lock = await openBaseLock({ dir: project.dir, isUpdate: isBaseUpdate, resolve: bases.resolve });
  const pinned = await lock.pin(name);
  const found: PlatformBase[] = [];
  for (const platform of platforms) found.push({ platform, base: await bases.pull(pinned, platform) });
  return found;
}
