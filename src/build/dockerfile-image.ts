import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { WherryError } from '../base/errors.js';
import type { Platform } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { readArchive, readLayers } from '../oci/docker-archive.js';
import { formatPlatform, isPlatform } from '../oci/platform.js';
import type { DockerfileProject } from '../project/read.js';
import { platformsOf } from './bases.js';
import { type ImageWork, openStore, sourceLabels } from './build.js';
import { type BuiltImage, finishImage, type PlatformParts } from './built-image.js';
import { parseDockerfile } from './dockerfile.js';
import { composeDockerfile } from './dockerfile-compose.js';
import { findEngineNeed } from './dockerfile-needs.js';
import { type Engine, type EngineName, findEngine } from './engine.js';
import { readSourceState, type SourceState } from './git.js';
import { isSecretPath } from './ignore.js';
import { type BuiltLayer, findTarLayer, type LayerStore, packTarLayer } from './layers.js';
import { lintDockerfile } from './lint.js';
import { type LintContext, readLintContext } from './lint-context.js';
import type { LintFinding } from './lint-finding.js';
import { listNames } from './plan.js';
import { readProjectText } from './project-text.js';

export interface DockerfileRequest extends ImageWork {
  readonly project: DockerfileProject;
  /** Undefined: the first that is there, and none where none is needed. */
  readonly engine: EngineName | undefined;
  /** `NAME=value`, or `NAME` for the value of the environment. */
  readonly buildArgs: readonly string[];
  /** `id=token,src=file`; never in a layer. */
  readonly secrets: readonly string[];
  /** Warnings of the linter end the build, too. */
  readonly isStrict: boolean;
  /** Milliseconds since the epoch: some bases are past their end. */
  readonly now: number;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Gets the engine's lines. */
  readonly report: (line: string) => void;
}

/**
 * Builds what a Dockerfile says: without an engine when nothing in it has to run, else with the engine that is there. Either way the
 * image ends up in the layout, so that it is pushed and verified as any other. Throws BUILD_FAILED, CONFIG_INVALID, LAYER_INVALID.
 */
export async function buildDockerfile(request: DockerfileRequest): Promise<BuiltImage> {
  const { project, report } = request;
  const text = await readDockerfile(project);
  const context = await readLintContext(project.dir, { path: project.dockerfile, text }, request.now);
  const findings = lint(request, text, context);
  const dockerfile = parseDockerfile(text);
  const need = findEngineNeed(dockerfile, request, context.files);
  if (need === undefined) return withFindings(await composeDockerfile(dockerfile, request), findings);
  const engine = await findEngine(request.engine, request);
  if (!engine) throw withoutEngine(request, need);
  report(`building ${project.dockerfile} with ${engine.name} for ${project.platforms.join(', ')}: ${need}`);
  return withFindings(await buildWithEngine(engine, request), [...findings, ...contextWarnings(context, project)]);
}

async function readDockerfile({ dir, dockerfile }: DockerfileProject): Promise<string> {
  const text = await readProjectText(join(dir, dockerfile));
  if (text !== undefined) return text;
  throw new WherryError('CONFIG_INVALID', `there is no '${dockerfile}' in '${dir}'`, { hint: "correct 'dockerfile' in wherry.yaml" });
}

const describe = (path: string, { line, problem, fix, rule }: LintFinding) => `${path}:${line}: ${problem} [${rule}]: ${fix}`;

/** What the linter warns of. Throws BUILD_FAILED for what it calls an error. */
function lint({ project: { dockerfile: path }, isStrict }: DockerfileRequest, text: string, context: LintContext): readonly string[] {
  const findings = lintDockerfile(text, context);
  const errors = findings.filter(({ severity }) => isStrict || severity === 'error');
  const [first] = errors;
  if (first === undefined) return findings.map((finding) => describe(path, finding));
  throw new WherryError('BUILD_FAILED', `${path}:${first.line}: ${first.problem} [${first.rule}]`, {
    hint: `${first.fix}; \`wherry lint\` shows all, and # wherry: ignore=${first.rule} above the line silences it`,
    detail: errors.map((finding) => describe(path, finding)),
  });
}

const withFindings = (built: BuiltImage, findings: readonly string[]): BuiltImage => ({
  ...built,
  warnings: [...findings, ...built.warnings],
});

/** An engine knows only .dockerignore: its COPY takes along what a build without one leaves out. */
function contextWarnings({ files }: LintContext, { dockerfile }: DockerfileProject): readonly string[] {
  const secrets = files.filter(isSecretPath);
  if (secrets.length === 0) return [];
  return [
    `the engine gets what may be secrets, because .dockerignore does not name it, and ${dockerfile} may copy it: ${listNames(secrets)}`,
  ];
}

async function buildWithEngine(engine: Engine, request: DockerfileRequest): Promise<BuiltImage> {
  const { project } = request;
  const store = await openStore(request);
  const source = await readSourceState(project.dir, request.sourceDateEpoch);
  const images: PlatformParts[] = [];
  for (const platform of platformsOf(project)) images.push(await buildPlatform(platform, { ...request, engine, source, store }));
  return finishImage({ project, source, images, warnings: [] }, store);
}

type EngineWork = Pick<DockerfileRequest, 'project' | 'buildArgs' | 'secrets'> & {
  readonly engine: Engine;
  readonly source: SourceState;
  readonly store: LayerStore;
};

async function buildPlatform(platform: Platform, work: EngineWork): Promise<PlatformParts> {
  const { engine, project, source, store, buildArgs, secrets } = work;
  const wanted = formatPlatform(platform);
  const request = {
    dir: project.dir,
    dockerfile: project.dockerfile,
    tag: `wherry-build/${project.name}:${wanted.replaceAll('/', '-')}`,
    platform: wanted,
    labels: labelsOf(project.name, source),
    buildArgs,
    secrets,
  };
  let offered = '';
  // Docker without BuildKit, and older podmans, take bases and layers that they have of another platform for this one's.
  for (const isFresh of [false, true]) {
    const image = await takeImage(engine, await engine.build({ ...request, isFresh }), store);
    if (isPlatform(image.config, platform)) return { ...image, base: undefined, platform };
    offered = formatPlatform(image.config);
  }
  throw new WherryError('BUILD_FAILED', `${engine.name} built ${project.dockerfile} for ${offered}, not for ${wanted}`, {
    hint: 'use a base that has an image for it, and no --platform in its FROM',
  });
}

/** A tree with changes has no time of its own, and a label that never changes tells nobody anything. */
function labelsOf(name: string, source: SourceState): Readonly<Record<string, string>> {
  const { 'org.opencontainers.image.created': created, ...labels } = sourceLabels(name, source);
  return { ...labels, ...(source.revision !== null && created !== undefined && { 'org.opencontainers.image.created': created }) };
}

/** The engine's image as it is, its layers compressed by us; those that an earlier build took are not touched again. */
async function takeImage(engine: Engine, id: string, store: LayerStore) {
  const scratch = await mkdtemp(join(store.layout.dir, 'engine-'));
  try {
    const file = join(scratch, 'image.tar');
    await engine.save(id, file);
    const { configBytes, config, layers: listed } = await readArchive(file);
    const found = new Map<Digest, BuiltLayer>();
    const missing = new Map<string, Digest>();
    for (const { diffId, path } of listed) {
      const known = await findTarLayer(diffId, store);
      if (known) found.set(diffId, known);
      else missing.set(path, diffId);
    }
    for await (const { path, tar } of readLayers(file, new Set(missing.keys()))) {
      const diffId = missing.get(path) as Digest;
      found.set(diffId, await packTarLayer(diffId, tar, store));
    }
    return { configBytes, config, layers: listed.map(({ diffId }) => layerOf(found, diffId)) };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

function layerOf(found: ReadonlyMap<Digest, BuiltLayer>, diffId: Digest): BuiltLayer {
  const layer = found.get(diffId);
  if (layer) return layer;
  throw new WherryError('LAYER_INVALID', `the engine's archive has no layer ${diffId}`, { hint: 'another engine may do: --engine' });
}

function withoutEngine({ engine, project }: DockerfileRequest, need: string): WherryError {
  const tried = engine ?? 'docker, podman and buildah';
  return new WherryError('BUILD_FAILED', `${project.dockerfile} needs a container engine (${need}), and none answers: tried ${tried}`, {
    hint: 'start Docker, or install podman or buildah; a handler project needs none of them',
  });
}
