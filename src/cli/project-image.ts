import { join } from 'node:path';
import { silentLog } from '../base/log.js';
import { type BuiltImage, buildImage } from '../build/build.js';
import type { Environment } from '../compose.js';
import { openRemoteRegistry, packageRoot, readSourceDateEpoch } from '../compose.js';
import { openLayout } from '../oci/layout.js';
import type { Project } from '../project/read.js';
import { openBaseImages } from './base-image.js';

export interface ImagePlace {
  readonly dataDir: string;
  readonly environment: Environment;
}

/** Where the CLI keeps the images it builds. */
export function layoutDirOf(dataDir: string): string {
  return join(dataDir, 'images');
}

export interface BuildOptions {
  /** Ask the registry again what the base's name means. */
  readonly isBaseUpdate?: boolean;
  /** Believe nothing of earlier builds. */
  readonly isFresh?: boolean;
  /** Warnings count as errors. */
  readonly isStrict?: boolean;
  readonly report?: (line: string) => void;
}

/** Builds the project's image into the data directory's layout. */
export async function buildProject(
  project: Project,
  { dataDir, environment }: ImagePlace,
  options: BuildOptions = {},
): Promise<BuiltImage> {
  const root = packageRoot();
  const layoutDir = layoutDirOf(dataDir);
  return buildImage({
    project,
    layoutDir,
    cacheDir: join(dataDir, 'cache'),
    sdk: { node: join(root, 'sdk/node/src'), python: join(root, 'sdk/python/wherry') },
    environment,
    sourceDateEpoch: readSourceDateEpoch(environment),
    zlibVersion: process.versions.zlib ?? 'unknown',
    isBaseUpdate: options.isBaseUpdate === true,
    isFresh: options.isFresh === true,
    report: options.report ?? (() => {}),
    bases: openBaseImages({
      layout: await openLayout(layoutDir),
      open: (registry) => openRemoteRegistry(registry, environment, silentLog),
    }),
  });
}

/** Writes every blob of a built image into a layout of its own, under the name of the project. */
export async function writeOutput({ blobs, manifest, descriptor, name }: BuiltImage, dir: string): Promise<void> {
  const layout = await openLayout(dir);
  for (const blob of blobs) if (!(await layout.has(blob))) await layout.writeBlob(blob.open(), blob.digest);
  await layout.putBytes(JSON.stringify(manifest));
  await layout.putRef(name, descriptor);
}
