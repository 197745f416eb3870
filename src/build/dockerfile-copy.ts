import { posix } from 'node:path';
import picomatch from 'picomatch';
import { WherryError } from '../base/errors.js';
import type { Step } from './dockerfile.js';
import { type FoundFile, stampOf, toEntry } from './files.js';
import { type LayerPlan, planEntries } from './layers.js';

/** Whether only the base's files could say if the target is a directory: `COPY run /opt/tool`, but not `COPY run.py /opt/run.py`. */
export function isAmbiguous(words: readonly string[]): boolean {
  const target = words.at(-1) ?? '';
  const [source = ''] = words;
  if (words.length > 2 || isDirectoryName(target) || hasPattern(source) || source.endsWith('/')) return false;
  const name = posix.basename(target);
  return name !== posix.basename(source) && !name.includes('.');
}

/** The layer of a COPY or ADD of local files (Dockerfile reference, COPY). Throws BUILD_FAILED for a source that is not there. */
export function planCopy({ keyword, line, words }: Step, files: readonly FoundFile[], workingDir: string): LayerPlan {
  const texts = words.map(({ text }) => text);
  const target = texts.at(-1) ?? '';
  const into = posix.resolve('/', workingDir, target).slice(1);
  const isInto = texts.length > 2 || isDirectoryName(target) || `/${into}` === workingDir;
  const placed = texts.slice(0, -1).flatMap((source) => {
    const found = place(inside(source), files, { into, isInto });
    if (found.length > 0) return found;
    throw new WherryError('BUILD_FAILED', `line ${line}: ${keyword} of '${source}', which is not in the build context`, {
      hint: 'the path is relative to the project, and .dockerignore and names of secrets are left out',
    });
  });
  const key = placed.map(({ path, file }) => `${path}\n${stampOf([file])}`).join('\n');
  return planEntries(
    'dockerfile',
    key,
    [...new Map(placed.map((each) => [each.path, each])).values()].map(({ path, file }) => ({ ...toEntry(file, ''), path })),
  );
}

interface Placed {
  readonly path: string;
  readonly file: FoundFile;
}

type Target = { readonly into: string; readonly isInto: boolean };

function place(source: string, files: readonly FoundFile[], { into, isInto }: Target): readonly Placed[] {
  if (hasPattern(source)) return expand(source, files).flatMap((match) => place(match, files, { into, isInto: true }));
  const file = files.find(({ path }) => path === source);
  if (file) return [{ path: isInto ? join(into, posix.basename(source)) : into, file }];
  // Of a directory, what is in it is copied, not itself.
  const under = source === '' ? '' : `${source}/`;
  return files
    .filter(({ path }) => path.startsWith(under))
    .map((each) => ({ path: join(into, each.path.slice(under.length)), file: each }));
}

/** Files and directories that a pattern matches. */
function expand(pattern: string, files: readonly FoundFile[]): readonly string[] {
  const depth = pattern.split('/').length;
  const isMatch = picomatch(pattern, { dot: true, nobrace: true, noextglob: true, noglobstar: true });
  return [...new Set(files.map(({ path }) => path.split('/').slice(0, depth).join('/')))].filter((path) => isMatch(path));
}

const hasPattern = (source: string) => /[*?[]/.test(source);
const isDirectoryName = (target: string) => target.endsWith('/') || ['.', '..'].includes(posix.basename(target));
const inside = (source: string) => posix.normalize(`/${source}`).replace(/^\/|\/$/g, '');
const join = (into: string, path: string) => (into === '' ? path : `${into}/${path}`);
