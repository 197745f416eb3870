import { createHash, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { cp, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { systemCodeOf, WherryError } from '../base/errors.js';
import { markUsed } from '../base/use-mark.js';
import type { Platform } from '../oci/descriptor.js';
import { libcOf } from './libc.js';
import { readProjectText } from './project-text.js';
import { runTool } from './tool.js';

export interface NpmRequest {
  /** Name of the project. */
  readonly name: string;
  readonly dir: string;
  readonly base: string;
  readonly platform: Platform;
  readonly cacheDir: string;
  /** Whoever removes what is cached holds it. */
  readonly lockFile: string;
  /** Of this machine: npm's settings, and where npm is. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly report: (line: string) => void;
  readonly signal: AbortSignal;
}

/** What npm installs for the image. */
export interface NpmTree {
  /** Holds `node_modules`. */
  readonly root: string;
  /** Packages, as paths below `root`, that want to run a script when they are installed; nothing was run. */
  readonly scripted: readonly string[];
}

interface LockEntry {
  readonly resolved?: string;
  readonly link?: boolean;
  readonly dev?: boolean;
  readonly hasInstallScript?: boolean;
}

interface Lock {
  readonly packages?: Readonly<Record<string, LockEntry>>;
}

/** OCI's names of processors, as npm has them. */
const CPUS: Readonly<Record<string, string>> = { amd64: 'x64', arm64: 'arm64' };
const MANIFESTS = ['package.json', 'package-lock.json'] as const;

/**
 * Installs what the project's `package-lock.json` pins, without development packages, for the system and processor of the image and not of
 * this machine; no script of a package is run. The same lock is installed once, for all projects. Undefined when there is no lock, or when it
 * links to directories: then what is installed in the project counts. Throws BUILD_FAILED.
 */
export async function installLocked(request: NpmRequest): Promise<NpmTree | undefined> {
  const { dir, cacheDir, lockFile } = request;
  const [manifest, lock] = await Promise.all(MANIFESTS.map((name) => readProjectText(join(dir, name), 'BUILD_FAILED')));
  if (manifest === undefined || lock === undefined) return undefined;
  const packages = parseLock(lock).packages ?? {};
  if (Object.values(packages).some(({ link }) => link === true)) return undefined;
  const texts = { 'package.json': withAbsolutePaths(manifest, dir), 'package-lock.json': withAbsolutePaths(lock, dir) };
  const root = join(
    cacheDir,
    'npm',
    createHash('sha256')
      .update(JSON.stringify([texts, targetOf(request)]))
      .digest('hex'),
  );
  // The directory gets its name when it is whole.
  if (!(await markUsed(root, lockFile))) await install(request, { root, texts });
  await noteTree(request, root);
  const isScripted = ([path, { hasInstallScript, dev }]: [string, LockEntry]) => path !== '' && hasInstallScript === true && dev !== true;
  return {
    root,
    scripted: Object.entries(packages)
      .filter(isScripted)
      .map(([path]) => path),
  };
}

/** Says which tree the last build of a project used. */
export function treeNoteOf(cacheDir: string, project: string): string {
  return join(cacheDir, 'trees', project);
}

async function noteTree({ cacheDir, name }: NpmRequest, root: string): Promise<void> {
  const file = treeNoteOf(cacheDir, name);
  if ((await readText(file)) === basename(root)) return;
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, basename(root));
}

type Installation = { readonly root: string; readonly texts: Readonly<Record<(typeof MANIFESTS)[number], string>> };

async function install(request: NpmRequest, { root, texts }: Installation): Promise<void> {
  const staging = join(dirname(root), randomUUID());
  await mkdir(staging, { recursive: true, mode: 0o700 });
  try {
    for (const [name, text] of Object.entries(texts)) await writeFile(join(staging, name), text);
    // Credentials of the project's own registry; gone before the directory is used.
    await cp(join(request.dir, '.npmrc'), join(staging, '.npmrc')).catch(unlessAbsent);
    request.report(`installing the packages of package-lock.json for linux/${request.platform.architecture}`);
    await runNpm(staging, request);
    await rm(join(staging, '.npmrc'), { force: true });
    await rename(staging, root).catch((thrown: unknown) => {
      // Another build was faster.
      if (!existsSync(root)) throw thrown;
    });
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

function targetOf({ platform: { architecture }, base }: NpmRequest): readonly string[] {
  return ['--os=linux', `--cpu=${CPUS[architecture] ?? architecture}`, `--libc=${libcOf(base)}`];
}

async function runNpm(cwd: string, request: NpmRequest): Promise<void> {
  const options = ['--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--no-progress', '--prefer-offline', '--loglevel=error'];
  const args = ['ci', ...options, ...targetOf(request)];
  const { environment, signal } = request;
  const { exitCode, output: lines } = await runTool('npm', args, { cwd, environment, report: () => {}, signal }).catch((cause: unknown) => {
    signal.throwIfAborted();
    throw new WherryError('BUILD_FAILED', 'npm could not be started', { hint: 'install npm', cause });
  });
  if (exitCode === 0) return;
  const reason = lines.map((line) => line.replace(/^npm (error|ERR!) ?/, '')).find((line) => line !== '' && !line.startsWith('code '));
  throw new WherryError('BUILD_FAILED', `the packages of package-lock.json could not be installed: ${reason ?? 'npm gave no reason'}`, {
    hint: 'see that `npm ci` works in the project; --json shows what npm said',
    detail: lines,
  });
}

/** Tarballs beside the project are found from another directory too. */
function withAbsolutePaths(text: string, dir: string): string {
  return text.replace(/"file:([^"/][^"]*)"/g, (_, path: string) => `"file:${resolve(dir, path)}"`);
}

function parseLock(text: string): Lock {
  const hint = 'run npm install in the project';
  let lock: unknown;
  try {
    lock = JSON.parse(text);
  } catch (cause) {
    throw new WherryError('BUILD_FAILED', 'package-lock.json is not JSON', { hint, cause });
  }
  if (isLock(lock)) return lock;
  throw new WherryError('BUILD_FAILED', 'package-lock.json is JSON, but no lock of npm', { hint });
}

function isLock(value: unknown): value is Lock {
  const isObject = (each: unknown) => typeof each === 'object' && each !== null;
  return isObject(value) && Object.values((value as { packages?: object | null }).packages ?? {}).every(isObject);
}

async function readText(file: string): Promise<string | undefined> {
  return readFile(file, 'utf8').catch(unlessAbsent);
}

function unlessAbsent(thrown: unknown): undefined {
  if (systemCodeOf(thrown) !== 'ENOENT') throw thrown;
}
