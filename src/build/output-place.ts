import { realpath } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, sep } from 'node:path';
import { WherryError } from '../base/errors.js';
import { isDockerfileProject, type Project } from '../project/read.js';
import { judgeName, readContextIgnore, readDockerignore } from './ignore.js';

/** What every image layout has (image-spec, image-layout.md). */
const LAYOUT_FILES = ['oci-layout', 'index.json', 'blobs/sha256/0'];

/** Throws USAGE for a directory in which an image would become a part of the project's next one, and that of the one after it. */
export async function checkOutputPlace(project: Project, output: string): Promise<void> {
  const path = relative(await realpath(project.dir), await realPathOf(output))
    .split(sep)
    .join('/');
  if (path === '..' || path.startsWith('../') || isAbsolute(path)) return;
  if (await isLeftOut(project, path)) return;
  throw new WherryError('USAGE', `--output '${output}' is in the project, so this image would become a part of the next one`, {
    hint: path === '' ? 'name a directory outside' : `name a directory outside, or write the line '${path}' into .dockerignore`,
  });
}

async function isLeftOut(project: Project, path: string): Promise<boolean> {
  const isOfDockerfile = isDockerfileProject(project);
  // An engine takes all that .dockerignore does not name.
  if (!isOfDockerfile && path.split('/').some((name, index) => judgeName(name, index === 0) !== 'keep')) return true;
  const rules = isOfDockerfile ? await readContextIgnore(project.dir, project.dockerfile) : await readDockerignore(project.dir);
  return rules !== undefined && LAYOUT_FILES.every((file) => rules(path === '' ? file : `${path}/${file}`));
}

/** Where a path leads, of which the last parts need not be there yet. */
async function realPathOf(path: string): Promise<string> {
  const parent = dirname(path);
  return realpath(path).catch(async (thrown: unknown) => {
    if (parent === path) throw thrown;
    return join(await realPathOf(parent), basename(path));
  });
}
