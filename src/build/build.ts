import { WherryError } from '../base/errors.js';
import type { Descriptor, Platform } from '../oci/descriptor.js';
import { type Digest, digestOf } from '../oci/digest.js';
import { openLayout } from '../oci/layout.js';
import { type ImageConfig, LABELS, type Manifest } from '../oci/manifest.js';
import type { Project } from '../project/read.js';
import { type BaseImage, type BuiltLayer, buildLayer, type LayerPlan, type LayerStore, writeImage } from './assemble.js';
import { type FoundFile, findPackageFiles, findProjectFiles, stampOf, toEntry } from './files.js';
import { readSourceState, type SourceState } from './git.js';
import { bundledPath, bundleHandler, sdkSpecifierFor } from './node.js';
import { placePackages } from './packages.js';

export interface BuildRequest {
  readonly project: Project;
  /** OCI layout that receives the image. */
  readonly layoutDir: string;
  readonly cacheDir: string;
  /** Directories with the worker SDKs' sources: `*.mjs`, and the package `wherry` of `*.py`. */
  readonly sdk: { readonly node: string; readonly python: string };
  readonly sourceDateEpoch: string | undefined;
  readonly zlibVersion: string;
  /** Fetches a base image; called only when the base is not `scratch`. */
  readonly pullBase: (reference: string, platform: Platform) => Promise<BaseImage>;
}

export interface BuiltImage {
  readonly name: string;
  readonly digest: Digest;
  readonly descriptor: Descriptor;
  readonly manifest: Manifest;
  readonly config: ImageConfig;
  readonly layers: readonly BuiltLayer[];
  readonly revision: string | null;
  readonly warnings: readonly string[];
}

const EMPTY_DEPENDENCIES: LayerPlan = { role: 'dependencies', entries: [], key: 'none' };

/** Builds a handler project into an image, without a container engine. Throws BUILD_FAILED, LAYER_INVALID, and what `pullBase` throws. */
export async function buildImage(request: BuildRequest): Promise<BuiltImage> {
  const { project } = request;
  const layout = await openLayout(request.layoutDir);
  const store: LayerStore = { layout, cacheDir: request.cacheDir, zlibVersion: request.zlibVersion };
  const platform = parsePlatform(project.platforms[0] ?? 'linux/amd64');
  const [source, planned, base] = await Promise.all([
    readSourceState(project.dir, request.sourceDateEpoch),
    project.handler.kind === 'node' ? planNode(request) : planPython(request),
    project.base === 'scratch' ? undefined : request.pullBase(project.base, platform),
  ]);
  if (base)
    for (const layer of base.manifest.layers)
      if (!(await layout.has(layer))) await layout.writeBlob(base.openBlob(layer.digest), layer.digest);
  const layers: BuiltLayer[] = [];
  for (const plan of planned.layers) layers.push(await buildLayer(plan, store));
  const { descriptor, manifest, config } = await writeImage(
    layers,
    {
      platform,
      entrypoint: planned.entrypoint,
      env: planned.env,
      workingDir: '/wherry/app',
      labels: labelsOf(project, source),
      created: new Date(source.createdAt * 1000).toISOString().replace('.000Z', 'Z'),
      base,
    },
    store,
  );
  await layout.putRef(project.name, descriptor);
  const warnings = [...planned.warnings, ...platformWarnings(project)];
  return { name: project.name, digest: descriptor.digest, descriptor, manifest, config, layers, revision: source.revision, warnings };
}

interface Plan {
  readonly layers: readonly LayerPlan[];
  readonly entrypoint: readonly string[];
  readonly env: readonly string[];
  readonly warnings: readonly string[];
}

async function planNode({ project, sdk: { node: sdkDir } }: BuildRequest): Promise<Plan> {
  const { dir, handler } = project;
  const [bundled, found, sdk] = await Promise.all([
    bundleHandler({ dir, entry: handler.path, sdkSpecifier: sdkSpecifierFor(handler.path) }),
    findProjectFiles(dir),
    findPackageFiles(sdkDir),
  ]);
  const packages = await placePackages(bundled.imports);
  const inputs = new Set(bundled.inputs);
  const assets = found.files.filter(({ path }) => !inputs.has(path));
  const entry = `wherry/app/${bundledPath(handler.path)}`;
  return {
    layers: [
      packages.length === 0
        ? EMPTY_DEPENDENCIES
        : {
            role: 'dependencies',
            entries: packages.flatMap(({ target, files }) => files.map((file) => toEntry(file, `wherry/${target}`))),
            key: packages.map(({ target, files }) => `${target}\n${stampOf(files)}`).join('\n'),
          },
      planFiles('sdk', sdk.files, 'wherry/sdk/node'),
      {
        role: 'code',
        entries: [
          ...assets.map((file) => toEntry(file, 'wherry/app')),
          { path: entry, type: 'file', isExecutable: false, content: { bytes: bundled.code } },
        ],
        key: `${entry}\n${digestOf(bundled.code)}\n${stampOf(assets)}`,
      },
    ],
    entrypoint: ['node', '/wherry/sdk/node/main.mjs', `/${entry}:${handler.function}`],
    env: [DEFAULT_PATH],
    warnings: [
      ...bundled.warnings,
      ...secretWarnings([...found.secrets, ...packages.flatMap(({ target, secrets }) => secrets.map((path) => `${target}/${path}`))]),
    ],
  };
}

async function planPython({ project, sdk: { python: sdkDir } }: BuildRequest): Promise<Plan> {
  const { dir, handler } = project;
  const [found, sdk] = await Promise.all([findProjectFiles(dir), findProjectFiles(sdkDir)]);
  if (!found.files.some(({ path }) => path === handler.path)) {
    throw new WherryError('BUILD_FAILED', `handler file '${handler.path}' is left out of the image`, {
      hint: 'remove it from .dockerignore',
    });
  }
  const requirements = found.files.filter(({ path }) => /^(builder\/)?requirements\.txt$/.test(path)).map(({ path }) => path);
  return {
    layers: [EMPTY_DEPENDENCIES, planFiles('sdk', sdk.files, 'wherry/sdk/python/wherry'), planFiles('code', found.files, 'wherry/app')],
    entrypoint: ['python3', '-u', '-m', 'wherry', `/wherry/app/${handler.path}:${handler.function}`],
    env: [DEFAULT_PATH, 'PYTHONPATH=/wherry/sdk/python:/wherry/python:/wherry/app'],
    warnings: [
      ...requirements.map(
        (path) => `${path} is not installed into the image in this version: the base image or the host must have its packages`,
      ),
      ...secretWarnings(found.secrets),
    ],
  };
}

const DEFAULT_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

function planFiles(role: LayerPlan['role'], files: readonly FoundFile[], prefix: string): LayerPlan {
  return { role, entries: files.map((file) => toEntry(file, prefix)), key: `${prefix}\n${stampOf(files)}` };
}

const SECRETS_NAMED = 20;

function secretWarnings(secrets: readonly string[]): string[] {
  if (secrets.length === 0) return [];
  const more = secrets.length > SECRETS_NAMED ? ` and ${secrets.length - SECRETS_NAMED} more` : '';
  return [`left out because they may hold secrets: ${secrets.slice(0, SECRETS_NAMED).join(', ')}${more}`];
}

function platformWarnings({ platforms }: Project): string[] {
  return platforms.length > 1 ? [`only the first platform, ${platforms[0]}, is built in this version`] : [];
}

/** Labels of the OCI image-spec (annotations.md) and wherry's own. */
function labelsOf({ name, base, handler, interpreter }: Project, { revision, source, createdAt }: SourceState): Record<string, string> {
  return {
    'org.opencontainers.image.title': name,
    'org.opencontainers.image.created': new Date(createdAt * 1000).toISOString().replace('.000Z', 'Z'),
    ...(source && { 'org.opencontainers.image.source': source }),
    ...(revision && { 'org.opencontainers.image.revision': revision }),
    ...(base !== 'scratch' && { 'org.opencontainers.image.base.name': base }),
    [LABELS.interpreter]: interpreter ?? (handler.kind === 'node' ? 'node@20' : 'python@3'),
    [LABELS.handler]: `${handler.path}:${handler.function}`,
    [LABELS.base]: base,
  };
}

function parsePlatform(text: string): Platform {
  const [os = '', architecture = '', variant] = text.split('/');
  if (os !== 'linux' || architecture === '') {
    throw new WherryError('BUILD_FAILED', `platform '${text}' cannot be built`, { hint: 'use linux/amd64 or linux/arm64' });
  }
  return { os, architecture, ...(variant !== undefined && { variant }) };
}
