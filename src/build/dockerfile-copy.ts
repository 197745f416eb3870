import { posix } from 'node:path';
import picomatch from 'picomatch';
import { WherryError } from '../base/errors.js';
import type { Step } from './dockerfile.js';
import { type FoundFile, stampOf, toEntry } from './files.js';
import { type LayerPlan, planEntries } from './layers.js';

/**
 * Whether only the base's files could say if the target is a directory, into which an engine would copy: `COPY run /opt/tool` and
 * `COPY site.conf /etc/conf.d`, but not `COPY run.py /opt/main.py`. `files` are the paths of the context.
 */
export function isAmbiguous(words: readonly string[], files: readonly string[]): boolean {
  const target = words.at(-1) ?? '';
  const [source = ''] = words;
  if (words.length > 2 || isDirectoryName(target)) return false;
  // One file that it matches is copied as a single source is, several need a directory.
  if (hasPattern(source)) return true;
  const path = inside(source);
  if (path === '' || files.some((file) => file.startsWith(`${path}/`))) return false;
  return posix.basename(target) !== posix.basename(path) && (posix.extname(target) !== posix.extname(path) || posix.extname(path) === '');
}

/** What COPY and ADD of one stage make layers of. */
export type CopyPlanner = (step: Step, workingDir: string) => LayerPlan;

/**
 * Plans the layers of the COPY and ADD of local files in a stage, in their order (Dockerfile reference, COPY): a target that an earlier one
 * made a directory stays one. Plans throw BUILD_FAILED for a source that is not there.
 */
export function createCopyPlanner(files: readonly FoundFile[]): CopyPlanner {
  const directories = new Set<string>();
  return (step, workingDir) => {
    const placed = placeAll(step, files, { workingDir, directories });
    for (const { path } of placed) for (const parent of parentsOf(path)) directories.add(parent);
    const key = placed.map(({ path, file }) => `${path}\n${stampOf([file])}`).join('\n');
    return planEntries(
      'dockerfile',
      key,
      [...new Map(placed.map((each) => [each.path, each])).values()].map(({ path, file }) => ({ ...toEntry(file, ''), path })),
    );
  };
}

interface Ground {
  readonly workingDir: string;
  /** Those that are there already. */
  readonly directories: ReadonlySet<string>;
}

function placeAll({ keyword, line, words }: Step, files: readonly FoundFile[], { workingDir, directories }: Ground): readonly Placed[] {
  const texts = words.map(({ text }) => text);
  const target = texts.at(-1) ?? '';
  const into = posix.resolve('/', workingDir, target).slice(1);
  const isInto = texts.length > 2 || isDirectoryName(target) || `/${into}` === workingDir || directories.has(into);
  return texts.slice(0, -1).flatMap((source) => {
    const found = place(inside(source), files, { into, isInto });
    if (found.length > 0) return found;
    throw new WherryError('BUILD_FAILED', `line ${line}: ${keyword} of '${source}', which is not in the build context`, {
      hint: 'the path is relative to the project, and .dockerignore and names of secrets are left out',
    });
  });
}

function parentsOf(path: string): readonly string[] {
  const names = path.split('/').slice(0, -1);
  return names.map((_, index) => names.slice(0, index + 1).join('/'));
}

interface Placed {
  readonly path: string;
  readonly file: FoundFile;
}

type Target = { readonly into: string; readonly isInto: boolean };

function place(source: string, files: readonly FoundFile[], { into, isInto }: Target): readonly Placed[] {
  if (hasPattern(source)) return expand(source, files).flatMap((match) => place(match, files, { into, isInto: true }));
  const found = followLinks(source, files);
  const file = files.find(({ path }) => path === found);
  // It leads to itself.
  if (file?.linkTarget !== undefined) return [];
  if (file) return [{ path: isInto ? join(into, posix.basename(source)) : into, file }];
  // Of a directory, what is in it is copied, not itself.
  const under = found === '' ? '' : `${found}/`;
  return files
    .filter(({ path }) => path.startsWith(under))
    .map((each) => ({ path: join(into, each.path.slice(under.length)), file: each }));
}

/** Where a link that is named itself leads; below a directory that is copied, links stay links. */
function followLinks(source: string, files: readonly FoundFile[]): string {
  const seen = new Set<string>();
  let path = source;
  for (let link = linkAt(path, files); link !== undefined && !seen.has(path); link = linkAt(path, files)) {
    seen.add(path);
    path = inside(posix.join(posix.dirname(path), link));
  }
  return path;
}

const linkAt = (path: string, files: readonly FoundFile[]) => files.find((file) => file.path === path)?.linkTarget;

/** Files and directories that a pattern matches. */
function expand(pattern: string, files: readonly FoundFile[]): readonly string[] {
  const depth = pattern.split('/').length;
  const isMatch = picomatch(pattern, { dot: true, nobrace: true, noextglob: true, noglobstar: true });
  return [...new Set(files.map(({ path }) => path.split('/').slice(0, depth).join('/')))].filter((path) => isMatch(path));
}

const hasPattern = (source: string) => /[*?[]/.test(source);
const isDirectoryName = (target: string) => target.endsWith('/') || ['.', '..'].includes(posix.basename(target));
/** A path of the build context as its files are named: no source leads out of it. */
export const inside = (source: string): string => posix.normalize(`/${source}`).replace(/^\/|\/$/g, '');
const join = (into: string, path: string) => (into === '' ? path : `${into}/${path}`);
