import { realpath } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, sep } from 'node:path';
import { WherryError } from '../base/errors.js';
import { isDockerfileProject, type Project } from '../project/read.js';
import { judgeName, readContextIgnore, readDockerignore } from './ignore.js';

/** What every image layout has (image-spec, image-layout.md). */
const LAYOUT_FILES = ['oci-layout', 'index.json', 'blobs/sha256/0'];
/** What a data directory has, beside the layout of builds. */
const DATA_FILES = ['admin.key', 'images/index.json', 'cache/pushed/0'];

/** Throws USAGE for a directory in which an image would become a part of the project's next one, and that of the one after it. */
export function checkOutputPlace(project: Project, output: string): Promise<void> {
  const problem = `--output '${output}' is in the project, so this image would become a part of the next one`;
  return refuseInside(project, { path: output, files: LAYOUT_FILES }, (hint) => new WherryError('USAGE', problem, { hint }));
}

/** Throws CONFIG_INVALID for a data directory whose keys would become a part of the image. */
export function checkDataPlace(project: Project, dataDir: string): Promise<void> {
  const problem = `the data directory '${dataDir}' is in the project, so its keys would become a part of the image`;
  return refuseInside(project, { path: dataDir, files: DATA_FILES }, (hint) => new WherryError('CONFIG_INVALID', problem, { hint }));
}

interface Place {
  readonly path: string;
  /** Some that it has. */
  readonly files: readonly string[];
}

async function refuseInside(project: Project, { path: place, files }: Place, refusal: (hint: string) => WherryError): Promise<void> {
  const path = relative(await realpath(project.dir), await realPathOf(place))
    .split(sep)
    .join('/');
  if (path === '..' || path.startsWith('../') || isAbsolute(path)) return;
  if (await isLeftOut(project, { path, files })) return;
  throw refusal(path === '' ? 'name a directory outside' : `name a directory outside, or write the line '${path}' into .dockerignore`);
}

async function isLeftOut(project: Project, { path, files }: Place): Promise<boolean> {
  const isOfDockerfile = isDockerfileProject(project);
  // An engine takes all that .dockerignore does not name.
  if (!isOfDockerfile && path.split('/').some((name, index) => judgeName(name, index === 0) !== 'keep')) return true;
  const rules = isOfDockerfile ? await readContextIgnore(project.dir, project.dockerfile) : await readDockerignore(project.dir);
  return rules !== undefined && files.every((file) => rules(path === '' ? file : `${path}/${file}`));
}

/** Where a path leads, of which the last parts need not be there yet. */
async function realPathOf(path: string): Promise<string> {
  const parent = dirname(path);
  return realpath(path).catch(async (thrown: unknown) => {
    if (parent === path) throw thrown;
    return join(await realPathOf(parent), basename(path));
  });
}
