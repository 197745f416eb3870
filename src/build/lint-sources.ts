import { posix } from 'node:path';
import { findNearest } from '../project/nearest.js';
import type { Dockerfile, Word } from './dockerfile.js';
import { inside } from './dockerfile-copy.js';
import type { LintContext } from './lint-context.js';
import type { Fault } from './lint-finding.js';

/** Sources of COPY and ADD that are not in the context, with what was probably meant. */
export function findMissingSources({ stages }: Dockerfile, context: LintContext): readonly Fault[] {
  const steps = stages.flatMap((stage) => stage.steps.filter(({ keyword }) => keyword === 'COPY' || keyword === 'ADD'));
  return steps
    .filter(({ flags, text }) => !flags.has('from') && !text.startsWith('<<'))
    .flatMap(({ words }) => words.slice(0, -1).filter((word) => isLocal(word) && !isThere(word.text, context.files)))
    .map((word) => faultOf(word, context));
}

const isLocal = ({ text, isOpen }: Word) => !isOpen && !text.startsWith('<<') && !/^(https?|git|ssh):|^git@/.test(text);

/** As Docker reads a source: relative to the root of the context whatever it begins with; a directory is there when something is in it. */
function isThere(source: string, files: readonly string[]): boolean {
  const path = inside(source);
  if (path === '') return true;
  const pattern = toPattern(path);
  return files.some((file) => pattern.test(file));
}

/** The path itself or anything below it; `*`, `?` and `[…]` as in Go's filepath.Match. */
function toPattern(path: string): RegExp {
  const body = path
    .replace(/[.+^${}()|\\]/g, '\\$&')
    .replaceAll('*', '[^/]*')
    .replaceAll('?', '[^/]');
  try {
    return new RegExp(`^${body}(/|$)`);
  } catch {
    return /$^/;
  }
}

function faultOf({ text, line }: Word, { files, isIgnored }: LintContext): Fault {
  if (isIgnored(inside(text))) {
    return {
      line,
      problem: `'${text}' is kept out of the context by .dockerignore`,
      fix: `take it out of .dockerignore, or add !${inside(text)}`,
    };
  }
  const meant = findMeant(inside(text), files);
  return {
    line,
    problem: `'${text}' does not exist in the build context`,
    fix: meant === undefined ? 'correct the path; it is relative to the directory that is built' : `did you mean '${meant}'?`,
  };
}

/** The same name elsewhere, the nearest to the root first; else the nearest spelling. */
function findMeant(path: string, files: readonly string[]): string | undefined {
  const name = posix.basename(path);
  const depth = (file: string) => file.split('/').length;
  const [same] = files.filter((file) => posix.basename(file) === name).sort((a, b) => depth(a) - depth(b) || a.localeCompare(b));
  return same ?? findNearest(path, files);
}
