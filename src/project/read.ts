import { open, readdir, realpath, stat } from 'node:fs/promises';
import { basename, join, resolve, sep } from 'node:path';
import { type ErrorCode, messageOf, systemCodeOf, WherryError } from '../base/errors.js';
import { checkEndpointId, DEFAULT_SETTINGS, type EndpointSettings } from '../domain/endpoint.js';
import { DEFAULT_SPEC, type ReleaseSpec } from '../domain/release.js';
import { FIELDS } from './fields.js';
import { findHandler, type Handler, readHandler } from './handler.js';
import { parseProject } from './parse.js';
import type { ProjectFile } from './project-file.js';
import { parseDuration, parseSize } from './units.js';

/** The name of the project file. */
export const PROJECT_FILE = 'wherry.yaml';

/** A project with every default filled in: what build, push and deploy work from. */
export type Project = HandlerProject | DockerfileProject;

/** A project whose image wherry composes of its files. */
export interface HandlerProject extends ProjectFacts {
  readonly handler: Handler;
  /** `scratch` or an image reference. */
  readonly base: string;
  /** `python@3.11`, `node@20`, or null when the file does not say. */
  readonly interpreter: string | null;
  /** Globs of files that get layers of their own. */
  readonly include: readonly string[];
}

/** A project whose Dockerfile says everything about its image. */
export interface DockerfileProject extends ProjectFacts {
  /** Path below the project's directory. */
  readonly dockerfile: string;
}

/** Whether a project is built of its Dockerfile, not of a handler. */
export function isDockerfileProject(project: Project): project is DockerfileProject {
  return 'dockerfile' in project;
}

interface ProjectFacts extends ReleaseSpec, EndpointSettings {
  /** Absolute. */
  readonly dir: string;
  /** Id of the endpoint: from the file, else the directory's name made into a legal id. */
  readonly name: string;
  readonly platforms: readonly string[];
  /** Bytes that the image should not exceed; null for no limit. */
  readonly budget: { readonly imageBytes: number | null };
  /** Sentences on what was found by convention. */
  readonly chosen: readonly string[];
  readonly warnings: readonly string[];
  readonly hasFile: boolean;
}

const DOCKERFILE = 'Dockerfile';
const MOST_BYTES = 1024 * 1024;
const DEFAULT_PLATFORMS: readonly string[] = ['linux/amd64'];

/** Reads the project in `dir`, with or without a `wherry.yaml`. Throws CONFIG_INVALID, HANDLER_NOT_FOUND, NAME_INVALID, NOT_FOUND. */
export async function readProject(dir: string): Promise<Project> {
  const root = resolve(dir);
  await checkDirectory(root);
  const text = await readProjectFile(root);
  const file = text === undefined ? {} : parseProject(text, PROJECT_FILE);
  const { chosen, ...parts } = await readParts(root, file);
  const name = file.name ?? nameOf(root);
  checkEndpointId(name);
  return {
    dir: root,
    name,
    ...parts,
    platforms: file.platforms ?? DEFAULT_PLATFORMS,
    budget: { imageBytes: file.budget?.imageSize === undefined ? null : parseSize(file.budget.imageSize) },
    ...specOf(file),
    ...settingsOf(file),
    chosen: [...(file.name === undefined ? [`name: ${name} (from the directory's name)`] : []), ...chosen],
    warnings: await warningsOf(root, file, text !== undefined),
    hasFile: text !== undefined,
  };
}

/** Path of the Dockerfile that would be built in `dir`, whether or not there is one. Throws CONFIG_INVALID, NOT_FOUND. */
export async function findDockerfile(dir: string): Promise<string> {
  const root = resolve(dir);
  await checkDirectory(root);
  const text = await readProjectFile(root);
  const { dockerfile } = text === undefined ? {} : parseProject(text, PROJECT_FILE);
  return dockerfile === undefined ? DOCKERFILE : checkedDockerfile(root, dockerfile);
}

type HandlerParts = Pick<HandlerProject, 'handler' | 'base' | 'interpreter' | 'include' | 'chosen'>;
type DockerfileParts = Pick<DockerfileProject, 'dockerfile' | 'chosen'>;

/** What the image is made of. A Dockerfile counts when the file names it, or when nothing else can: a handler needs no engine. */
async function readParts(root: string, file: ProjectFile): Promise<HandlerParts | DockerfileParts> {
  if (file.dockerfile !== undefined) return { dockerfile: await checkedDockerfile(root, file.dockerfile), chosen: [] };
  const sourceOf = (path: string) => readSource(root, path);
  const isOther = await isFile(join(root, DOCKERFILE));
  try {
    const found =
      file.handler === undefined ? await findHandler(sourceOf) : await readHandler(file.handler, sourceOf, () => listFiles(root));
    checkInterpreter(file, found.handler);
    const passedOver = isOther && file.handler === undefined ? [`not used: ${DOCKERFILE} ('dockerfile: ${DOCKERFILE}' builds it)`] : [];
    const { base = 'scratch', interpreter = null, include = [] } = file;
    return { handler: found.handler, base, interpreter, include, chosen: [...found.chosen, ...passedOver] };
  } catch (thrown) {
    const isOnly = isOther && file.handler === undefined && thrown instanceof WherryError && thrown.code === 'HANDLER_NOT_FOUND';
    if (!isOnly) throw thrown;
    await refuseOutside(root, DOCKERFILE, { code: 'CONFIG_INVALID', what: `read ${DOCKERFILE}` });
    return { dockerfile: DOCKERFILE, chosen: [`dockerfile: ${DOCKERFILE} (no handler was found)`] };
  }
}

async function checkedDockerfile(root: string, path: string): Promise<string> {
  if (await isFile(join(root, path))) {
    await refuseOutside(root, path, { code: 'CONFIG_INVALID', what: `${PROJECT_FILE}: 'dockerfile' is '${path}'` });
    return path;
  }
  throw new WherryError('CONFIG_INVALID', `${PROJECT_FILE}: 'dockerfile' is '${path}', but there is no such file`, {
    hint: 'the path is relative to the project',
  });
}

async function isFile(file: string): Promise<boolean> {
  const found = await stat(file).catch(() => undefined);
  return found?.isFile() === true;
}

function specOf({
  env = {},
  secrets = [],
  args,
  ports = [],
  volumes = [],
  models,
  placement,
  hardened,
  resources = {},
  limits = {},
}: ProjectFile): ReleaseSpec {
  const { cpu, memory, disk, gpu } = resources;
  return {
    env,
    secrets,
    args: args ?? null,
    ports,
    volumes,
    ...(models !== undefined && { models }),
    ...(placement !== undefined && { placement }),
    ...(hardened !== undefined && { isHardened: hardened }),
    resources: {
      ...(cpu !== undefined && { cpu }),
      ...(memory !== undefined && { memoryBytes: parseSize(memory) }),
      ...(disk !== undefined && { diskBytes: parseSize(disk) }),
      ...(gpu !== undefined && { gpu: typeof gpu === 'object' ? gpu.join(',') : gpu }),
    },
    initTimeoutMs: toMs(limits.init, DEFAULT_SPEC.initTimeoutMs),
  };
}

function settingsOf({ scale = {}, limits = {}, runtime }: ProjectFile): EndpointSettings {
  const preset = DEFAULT_SETTINGS;
  return {
    scale: {
      min: scale.min ?? preset.scale.min,
      max: scale.max ?? preset.scale.max,
      idleMs: toMs(scale.idle, preset.scale.idleMs),
      type: scale.type ?? preset.scale.type,
      value: scale.value ?? preset.scale.value,
      ...(scale.extra !== undefined && { extra: scale.extra }),
      ...(scale.restAfter !== undefined && { restAfterMs: parseDuration(scale.restAfter) }),
      ...(scale.keep !== undefined && { keep: scale.keep }),
    },
    ...(runtime !== undefined && { runtime }),
    limits: {
      executionMs: toMs(limits.execution, preset.limits.executionMs),
      ttlMs: toMs(limits.ttl, preset.limits.ttlMs),
      retentionMs: toMs(limits.retention, preset.limits.retentionMs),
      retentionSyncMs: toMs(limits.retentionSync, preset.limits.retentionSyncMs),
      ...(limits.webhookRetry !== undefined && { webhookRetryMs: parseDuration(limits.webhookRetry) }),
      ...(limits.rate !== undefined && { rate: limits.rate }),
      ...(limits.runSize !== undefined && { runBytes: parseSize(limits.runSize) }),
      ...(limits.runsyncSize !== undefined && { runsyncBytes: parseSize(limits.runsyncSize) }),
      ...(limits.resultSize !== undefined && { resultBytes: parseSize(limits.resultSize) }),
      ...(limits.timeoutState !== undefined && { timeoutState: limits.timeoutState }),
      ...(limits.lowPriorityWait !== undefined && { lowPriorityWaitMs: parseDuration(limits.lowPriorityWait) }),
    },
  };
}

function toMs(text: string | undefined, presetMs: number): number {
  return text === undefined ? presetMs : parseDuration(text);
}

/** The schema compares the two when the file names the handler; this is for a handler found by convention. */
function checkInterpreter({ interpreter }: ProjectFile, { kind, path }: Handler): void {
  if (interpreter === undefined || interpreter.startsWith(`${kind}@`)) return;
  throw new WherryError('CONFIG_INVALID', `${PROJECT_FILE}: 'interpreter' is '${interpreter}', but the handler '${path}' is for ${kind}`, {
    hint: "name the handler in wherry.yaml, or remove 'interpreter'",
  });
}

/** The directory's name as an endpoint id: `My App` is `my-app`. */
function nameOf(dir: string): string {
  const slug = basename(dir)
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 58)
    .replace(/^-+|-+$/g, '');
  try {
    checkEndpointId(slug);
    return slug;
  } catch {
    return slug === '' ? 'app' : `${slug}-app`;
  }
}

async function warningsOf(root: string, file: ProjectFile, hasFile: boolean): Promise<readonly string[]> {
  const idle = FIELDS.filter(({ path, isInEffect }) => isInEffect === false && isGiven(file, path)).map(
    ({ path }) => `'${path}' in ${PROJECT_FILE} has no effect yet in this version`,
  );
  const apart = FIELDS.filter(({ path, needsContainer }) => needsContainer && file.runtime !== 'docker' && isGiven(file, path));
  idle.push(
    ...apart.map(({ path }) => `'${path}' in ${PROJECT_FILE} is for workers in containers; those that are processes do without it`),
  );
  const beside = file.dockerfile === undefined ? [] : (['handler', 'base', 'interpreter', 'include'] as const).filter((key) => key in file);
  idle.push(...beside.map((key) => `'${key}' in ${PROJECT_FILE} does not apply beside 'dockerfile'`));
  const other = hasFile ? [] : (await readdir(root)).filter((entry) => /^wherry\.(yml|json|toml)$/.test(entry));
  return [...idle, ...other.map((entry) => `${entry} is not read; name it ${PROJECT_FILE}`)];
}

function isGiven(file: ProjectFile, path: string): boolean {
  return path.split('.').reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], file) !== undefined;
}

async function checkDirectory(root: string): Promise<void> {
  const found = await stat(root).catch((thrown: unknown) => {
    const why = systemCodeOf(thrown) === 'ENOENT' ? 'there is no such directory' : messageOf(thrown);
    throw new WherryError('NOT_FOUND', `read project '${root}': ${why}`, { hint: 'name the directory of the project', cause: thrown });
  });
  if (found.isDirectory()) return;
  throw new WherryError('NOT_FOUND', `read project '${root}': it is not a directory`, {
    hint: 'give the directory that holds the handler or the Dockerfile',
  });
}

async function readProjectFile(root: string): Promise<string | undefined> {
  const bytes = await readStart(join(root, PROJECT_FILE));
  if (bytes === undefined) return undefined;
  if (bytes.length > MOST_BYTES) {
    throw new WherryError('CONFIG_INVALID', `read ${PROJECT_FILE}: it is larger than ${MOST_BYTES} bytes`, {
      hint: 'it should hold settings only',
    });
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (thrown) {
    throw new WherryError('CONFIG_INVALID', `read ${PROJECT_FILE}: it is not UTF-8 text`, { hint: 'save it as UTF-8', cause: thrown });
  }
}

/** The beginning of a source file: enough to find its functions. Throws HANDLER_NOT_FOUND for a link that leaves the project. */
async function readSource(root: string, path: string): Promise<string | undefined> {
  const file = join(root, path);
  const bytes = await readStart(file);
  if (bytes === undefined) return undefined;
  await refuseOutside(root, path, { code: 'HANDLER_NOT_FOUND', what: `read handler '${path}'` });
  return Buffer.from(bytes).toString('utf8');
}

/** Throws for a file that links on its way lead out of the project. */
async function refuseOutside(
  root: string,
  path: string,
  { code, what }: { readonly code: ErrorCode; readonly what: string },
): Promise<void> {
  const [realRoot, realFile] = await Promise.all([realpath(root), realpath(join(root, path))]);
  if (realFile.startsWith(realRoot.endsWith(sep) ? realRoot : realRoot + sep)) return;
  throw new WherryError(code, `${what}: it is a link to a file outside the project`, { hint: 'copy the file into the project' });
}

/** At most one byte more than the limit, so that a huge file costs no memory; undefined when there is no such regular file. */
async function readStart(file: string): Promise<Uint8Array | undefined> {
  try {
    // A pipe would block the open, so its kind is asked first.
    const found = await stat(file);
    if (!found.isFile()) return undefined;
    const handle = await open(file);
    try {
      const buffer = Buffer.alloc(Math.min(found.size, MOST_BYTES) + 1);
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0);
      return buffer.subarray(0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch (thrown) {
    const code = systemCodeOf(thrown);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new WherryError('CONFIG_INVALID', `read '${file}': ${messageOf(thrown)}`, { hint: 'make it readable for you', cause: thrown });
  }
}

/** Files of the project down to three levels, for a did-you-mean; hidden ones and installed packages are left out. */
async function listFiles(root: string, under = '', depth = 0): Promise<readonly string[]> {
  const entries = await readdir(join(root, under), { withFileTypes: true });
  const nested = await Promise.all(
    entries
      .filter(({ name }) => !name.startsWith('.') && name !== 'node_modules' && name !== '__pycache__')
      .map(async (entry) => {
        const path = under === '' ? entry.name : `${under}/${entry.name}`;
        if (!entry.isDirectory()) return [path];
        return depth < 2 ? listFiles(root, path, depth + 1) : [];
      }),
  );
  return nested.flat();
}
