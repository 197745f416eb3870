import { join, relative } from 'node:path';
import { WherryError } from '../base/errors.js';
import { digestOf } from '../oci/digest.js';
import { type Assets, planAssets } from './assets.js';
import { findPackageFiles, findProjectFiles, stampOf, toEntry } from './files.js';
import { type IgnoreRules, isSecretPath, readDockerignore } from './ignore.js';
import { planEntries } from './layers.js';
import { bundledPath, bundleHandler, sdkSpecifierFor } from './node.js';
import { installLocked } from './npm.js';
import { type PlacedPackage, placePackages } from './packages.js';
import { DEFAULT_PATH, listNames, NO_DEPENDENCIES, type Plan, type PlanRequest, planFiles, secretWarnings } from './plan.js';

/** Plans a Node handler: its packages, the worker SDK, and the bundled handler with the project's other files. Throws BUILD_FAILED. */
export async function planNode({ project, sdk: { node: sdkDir }, ...request }: PlanRequest): Promise<Plan> {
  const { dir, handler } = project;
  const [bundled, found, sdk, isIgnored] = await Promise.all([
    bundleHandler({ dir, entry: handler.path, sdkSpecifier: sdkSpecifierFor(handler.path) }),
    findProjectFiles(dir),
    findPackageFiles(sdkDir),
    readDockerignore(dir),
  ]);
  refuseInputs(bundled.inputs, isIgnored);
  const locked =
    bundled.imports.length === 0 ? undefined : await installLocked({ ...request, name: project.name, dir, base: project.base });
  const packages = await placePackages(bundled.imports, (importer) => (locked ? join(locked.root, relative(dir, importer)) : importer));
  const assets = planAssets(project.include, found.files);
  const entry = `wherry/app/${bundledPath(handler.path)}`;
  return {
    layers: [
      packages.length === 0 ? NO_DEPENDENCIES : planPackages(packages),
      ...assets.layers,
      planFiles('sdk', sdk.files, 'wherry/sdk/node'),
      planCode(entry, { code: bundled.code, inputs: bundled.inputs, assets }),
    ],
    entrypoint: ['node', '/wherry/sdk/node/main.mjs', `/${entry}:${handler.function}`],
    env: [DEFAULT_PATH],
    interpreter: project.interpreter ?? 'node@20',
    warnings: [
      ...bundled.warnings,
      ...outsideWarnings(bundled.inputs),
      ...assets.warnings,
      ...scriptWarnings(locked?.scripted ?? [], packages),
      ...(locked === undefined && project.platforms.length > 1 ? compiledWarnings(packages) : []),
      ...secretWarnings([...found.secrets, ...packages.flatMap(({ target, secrets }) => secrets.map((path) => `${target}/${path}`))]),
    ],
  };
}

/** A bundle must not bring in what files are left out for. Throws BUILD_FAILED. */
function refuseInputs(inputs: readonly string[], isIgnored: IgnoreRules | undefined): void {
  const secret = inputs.find(isSecretPath);
  if (secret !== undefined) {
    throw new WherryError('BUILD_FAILED', `the handler imports '${secret}', which may hold secrets and would be in the image`, {
      hint: 'read it when the worker runs, from a variable under `env` or from a volume',
    });
  }
  const ignored = inputs.find((path) => !path.startsWith('../') && isIgnored?.(path));
  if (ignored === undefined) return;
  throw new WherryError('BUILD_FAILED', `the handler needs '${ignored}', which .dockerignore leaves out of the image`, {
    hint: 'remove it from .dockerignore',
  });
}

/** The revision and whether there are changes are told of the project alone. */
function outsideWarnings(inputs: readonly string[]): readonly string[] {
  const outside = inputs.filter((path) => path.startsWith('../'));
  return outside.length === 0 ? [] : [`bundled from outside the project: ${listNames(outside)}`];
}

/** What a package's script would have made is missing, unless the package brings it for each platform. */
function scriptWarnings(scripted: readonly string[], packages: readonly PlacedPackage[]): readonly string[] {
  const placed = new Set(packages.map(({ target }) => target));
  const found = scripted.filter((path) => placed.has(path)).map((path) => path.slice('node_modules/'.length));
  if (found.length === 0) return [];
  return [`packages with an install script, which was not run: ${found.join(', ')}; one that compiles needs a Dockerfile`];
}

/** Without a lock each platform gets what is installed here. */
function compiledWarnings(packages: readonly PlacedPackage[]): readonly string[] {
  const found = packages.filter(({ files }) => files.some(({ path }) => path.endsWith('.node') && !path.includes('prebuilds/')));
  if (found.length === 0) return [];
  const names = found.map(({ name }) => name).join(', ');
  return [`packages with compiled parts, which are the same for each platform: ${names}; with a package-lock.json each gets its own`];
}

function planPackages(packages: readonly PlacedPackage[]) {
  return planEntries(
    'dependencies',
    packages.map(({ target, files }) => `${target}\n${stampOf(files)}`).join('\n'),
    packages.flatMap(({ target, files }) => files.map((file) => toEntry(file, `wherry/${target}`))),
  );
}

type Code = { readonly code: Uint8Array; readonly inputs: readonly string[]; readonly assets: Assets };

function planCode(entry: string, { code, inputs, assets }: Code) {
  const bundled = new Set(inputs);
  const files = assets.rest.filter(({ path }) => !bundled.has(path));
  return planEntries('code', `${entry}\n${digestOf(code)}\n${stampOf(files)}`, [
    ...files.map((file) => toEntry(file, 'wherry/app')),
    { path: entry, type: 'file', isExecutable: false, content: { bytes: code } },
  ]);
}
