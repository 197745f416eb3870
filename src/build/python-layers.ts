import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { WherryError } from '../base/errors.js';
import { planAssets } from './assets.js';
import { findInstalledFiles, findProjectFiles } from './files.js';
import { describeInstalled } from './installed.js';
import type { LayerPlan } from './layers.js';
import { libcOf } from './libc.js';
import { installWheels } from './pip.js';
import { DEFAULT_PATH, NO_DEPENDENCIES, type Plan, type PlanRequest, planFiles, secretWarnings } from './plan.js';
import type { PythonTarget } from './python-target.js';
import { findRequirements, isRequirement, type Requirements, readRequirements } from './requirements.js';

/** Plans a Python handler: its packages as wheels, the worker SDK, and the project's files. Throws BUILD_FAILED. */
export async function planPython(request: PlanRequest): Promise<Plan> {
  const {
    project,
    sdk: { python: sdkDir },
  } = request;
  const { dir, handler } = project;
  const [found, sdk, dependencies] = await Promise.all([findProjectFiles(dir), findProjectFiles(sdkDir), planPackages(request)]);
  if (!found.files.some(({ path }) => path === handler.path)) {
    throw new WherryError('BUILD_FAILED', `handler file '${handler.path}' is left out of the image`, {
      hint: 'remove it from .dockerignore',
    });
  }
  const assets = planAssets(project.include, found.files);
  return {
    layers: [
      dependencies.layer,
      ...assets.layers,
      planFiles('sdk', sdk.files, 'wherry/sdk/python/wherry'),
      planFiles('code', assets.rest, 'wherry/app'),
    ],
    entrypoint: ['python3', '-u', '-m', 'wherry', `/wherry/app/${handler.path}:${handler.function}`],
    env: [DEFAULT_PATH, 'PYTHONPATH=/wherry/sdk/python:/wherry/python:/wherry/app'],
    interpreter: dependencies.interpreter,
    warnings: [...dependencies.warnings, ...assets.warnings, ...secretWarnings(found.secrets)],
  };
}

type Dependencies = { readonly layer: LayerPlan; readonly interpreter: string; readonly warnings: readonly string[] };

async function planPackages(request: PlanRequest): Promise<Dependencies> {
  const { project } = request;
  const file = await findRequirements(project.dir);
  const none = { layer: NO_DEPENDENCIES, interpreter: project.interpreter ?? 'python@3', warnings: [] };
  if (!file) return none;
  const target = await findTarget(request);
  const requirements = await readRequirements(file, target);
  const warnings = requirements.asksForSdk
    ? [`the worker SDK in ${file.file} is not installed: the image has wherry's own, which answers to \`import runpod\``]
    : [];
  if (!requirements.lines.some(isRequirement)) return { ...none, warnings };
  const key = JSON.stringify(['wheels-2', target, requirements.isLocked, requirements.key]);
  const layer: LayerPlan = { role: 'dependencies', key, gather: () => gatherPackages(request, requirements, target) };
  return { layer, interpreter: project.interpreter ?? `python@${target.version}`, warnings };
}

async function gatherPackages(request: PlanRequest, requirements: Requirements, target: PythonTarget) {
  const { project, cacheDir, environment, report, signal } = request;
  const stagingDir = join(cacheDir, 'staging', randomUUID());
  await mkdir(stagingDir, { recursive: true, mode: 0o700 });
  const release = () => rm(stagingDir, { recursive: true, force: true });
  try {
    const packages = await installWheels({ requirements, target, dir: project.dir, stagingDir, environment, report, signal });
    const { files } = await findInstalledFiles(packages);
    return { entries: await describeInstalled(files, 'wherry/python'), release };
  } catch (thrown) {
    await release();
    throw thrown;
  }
}

/** What the project says, else what the base image says of itself (the official Python images do), else this machine's for `scratch`. */
async function findTarget({ project, platform, base, environment }: PlanRequest): Promise<PythonTarget> {
  const said = /^python@(3\.\d+)/.exec(project.interpreter ?? '')?.[1];
  const inBase = base?.config.config?.Env?.map((line) => /^PYTHON_VERSION=(3\.\d+)/.exec(line)?.[1]).find(
    (version) => version !== undefined,
  );
  const version = said ?? inBase ?? (base ? undefined : await readHostVersion(environment));
  if (version === undefined) throw unknownPython(project.base);
  return { version, architecture: platform.architecture, libc: libcOf(project.base) };
}

function readHostVersion(environment: PlanRequest['environment']): Promise<string | undefined> {
  const program = 'import sys; print("%d.%d" % sys.version_info[:2])';
  return new Promise((resolve) => {
    execFile('python3', ['-c', program], { timeout: 10_000, env: environment }, (error, stdout) =>
      resolve(error ? undefined : stdout.trim()),
    );
  });
}

function unknownPython(base: string): WherryError {
  return new WherryError(
    'BUILD_FAILED',
    `the packages of the project cannot be chosen: which Python ${base === 'scratch' ? 'this machine' : `'${base}'`} has is not known`,
    {
      hint: base === 'scratch' ? 'install python3' : 'say it in wherry.yaml, for instance `interpreter: python@3.12`',
    },
  );
}
