import { join } from 'node:path';
import { WherryError } from '../base/errors.js';
import { silentLog } from '../base/log.js';
import { buildImage, type ImageWork } from '../build/build.js';
import { type BuiltImage, blobsOf, layersOf } from '../build/built-image.js';
import type { Collected } from '../build/collect.js';
import type { DockerfileRequest } from '../build/dockerfile-image.js';
import { checkDataPlace } from '../build/output-place.js';
import { type Environment, packageRoot, readBuildLimit, readSourceDateEpoch } from '../compose-settings.js';
import { openLayout } from '../oci/layout.js';
import { type DockerfileProject, isDockerfileProject, type Project } from '../project/read.js';
import { openBaseImages } from './base-image.js';

export interface ImagePlace {
  readonly dataDir: string;
  readonly environment: Environment;
  /** Ends builds and pushes, with the tools that they run and what they ask registries for. */
  readonly signal: AbortSignal;
}

/** Where the CLI keeps the images it builds. */
export function layoutDirOf(dataDir: string): string {
  return join(dataDir, 'images');
}

/** Where it keeps what the next build may need. */
export function cacheDirOf(dataDir: string): string {
  return join(dataDir, 'cache');
}

export interface BuildOptions {
  /** Ask the registry again what the base's name means. */
  readonly isBaseUpdate?: boolean;
  /** Believe nothing of earlier builds. */
  readonly isFresh?: boolean;
  /** Warnings count as errors. */
  readonly isStrict?: boolean;
  readonly report?: (line: string) => void;
  /** Builds Dockerfiles; the first that is there when it is not named. */
  readonly engine?: string | undefined;
  /** For Dockerfiles; see {@link DockerfileRequest}. */
  readonly buildArgs?: readonly string[];
  readonly secrets?: readonly string[];
}

/** Builds the project's image into the data directory's layout. */
export async function buildProject(
  project: Project,
  { dataDir, environment, signal }: ImagePlace,
  options: BuildOptions = {},
): Promise<BuiltImage> {
  await checkDataPlace(project, dataDir);
  const layoutDir = layoutDirOf(dataDir);
  const report = options.report ?? (() => {});
  const work: ImageWork = {
    layoutDir,
    cacheDir: cacheDirOf(dataDir),
    sourceDateEpoch: readSourceDateEpoch(environment),
    zlibVersion: process.versions.zlib ?? 'unknown',
    isBaseUpdate: options.isBaseUpdate === true,
    isFresh: options.isFresh === true,
    signal,
    bases: openBaseImages({
      layout: await openLayout(layoutDir),
      open: async (registry) => {
        const { openRemoteRegistry } = await import('../compose-registry.js');
        return openRemoteRegistry(registry, environment, { log: silentLog, signal });
      },
    }),
  };
  if (isDockerfileProject(project)) return buildWithDockerfile(project, { ...work, environment, report }, options);
  refuseEngine(options);
  const root = packageRoot();
  const sdk = { node: join(root, 'sdk/node/src'), python: join(root, 'sdk/python/wherry') };
  return buildImage({ ...work, project, sdk, environment, report });
}

type Surroundings = Pick<DockerfileRequest, 'environment' | 'report'>;

/** Its parts are loaded only for the projects that have one. */
async function buildWithDockerfile(
  project: DockerfileProject,
  work: ImageWork & Surroundings,
  { engine, buildArgs = [], secrets = [], isStrict = false }: BuildOptions,
): Promise<BuiltImage> {
  const [{ buildDockerfile }, { engineNamed }, { openClock }] = await Promise.all([
    import('../build/dockerfile-image.js'),
    import('../build/engine.js'),
    import('../base/clock.js'),
  ]);
  const named = engine === undefined ? undefined : engineNamed(engine);
  return buildDockerfile({ ...work, project, engine: named, buildArgs, secrets, isStrict, now: openClock().now() });
}

function refuseEngine({ engine, buildArgs = [], secrets = [] }: BuildOptions): void {
  if (engine === undefined && buildArgs.length === 0 && secrets.length === 0) return;
  throw new WherryError('USAGE', 'an engine, build arguments and secrets are for Dockerfiles, and this project has a handler', {
    hint: "leave them out, or name a Dockerfile as 'dockerfile' in wherry.yaml",
  });
}

/** After a build that made something: once a day removes what earlier builds left and nothing uses any more. Throws CONFIG_INVALID and what the disk does. */
export async function collectAfter(built: BuiltImage, { dataDir, environment }: ImagePlace): Promise<Collected | undefined> {
  // Without anything new there is no more than before, and nobody to keep waiting.
  if (layersOf(built).every(({ isCached }) => isCached)) return undefined;
  const [{ collectBuilds, KEEP_TIMES }, { openClock }] = await Promise.all([import('../build/collect.js'), import('../base/clock.js')]);
  const rules = { ...KEEP_TIMES, sizeBytes: readBuildLimit(environment) };
  return collectBuilds({ layoutDir: layoutDirOf(dataDir), cacheDir: cacheDirOf(dataDir), now: openClock().now(), rules });
}

/** Writes every blob of a built image, those of all platforms, into a layout of its own, under the name of the project. */
export async function writeOutput(built: BuiltImage, dir: string): Promise<void> {
  const layout = await openLayout(dir);
  for (const blob of blobsOf(built)) if (!(await layout.has(blob))) await layout.writeBlob(blob.open(), blob.digest);
  for (const { manifest } of built.images) await layout.putBytes(JSON.stringify(manifest));
  if (built.index) await layout.putBytes(JSON.stringify(built.index));
  await layout.putRef(built.name, built.descriptor);
}
