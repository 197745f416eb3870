import type { Dockerfile, Step } from './dockerfile.js';
import { isAmbiguous } from './dockerfile-copy.js';
import type { EngineName } from './engine.js';

/** Instructions that only write to the image's config, or copy files as they are. */
const COMPOSED = new Set('ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE LABEL STOPSIGNAL USER VOLUME WORKDIR'.split(' '));

/** What engines read as one text, blanks included. */
const ONE_TEXT = new Set(['STOPSIGNAL', 'USER', 'WORKDIR']);
/** What may be written as a list of JSON. */
const LISTS = new Set(['ADD', 'COPY', 'VOLUME']);

/**
 * A word or value whose quotes only hold it together and whose backslashes only keep a blank. Everywhere else engines take them away
 * before, while or after they look for variables, by rules of a shell.
 */
const PLAIN = /^(?:(?:[^"'\\]|\\ )*|"[^"\\]*"|'[^'\\$]*')$/;
const ODD_VARIABLE = /\$(?![A-Za-z_]|\{[A-Za-z_]\w*\})/;

const ARCHIVE = /\.(tar|tgz|txz|tbz2?|gz|xz|bz2|zst)$/i;

export interface EngineWishes {
  readonly engine: EngineName | undefined;
  readonly buildArgs: readonly string[];
  readonly secrets: readonly string[];
}

/** Why a Dockerfile cannot be built without an engine, with the line; undefined when it can. `files` are the paths of its context. */
export function findEngineNeed(
  { stages, head, escapeCharacter }: Dockerfile,
  wishes: EngineWishes,
  files: readonly string[],
): string | undefined {
  if (wishes.engine !== undefined) return '--engine names it';
  if (wishes.buildArgs.length > 0 || wishes.secrets.length > 0) return 'build arguments or secrets were given';
  const [stage, second] = stages;
  if (stage === undefined) return 'it has no FROM';
  if (second !== undefined) return `line ${second.line}: a second stage`;
  if (escapeCharacter !== '\\') return `line 1: '${escapeCharacter}' as the escape character`;
  if (stage.base.isOpen || stage.base.text.startsWith('--')) return `line ${stage.line}: a base that is not a plain name`;
  const steps = [...head, ...stage.steps];
  const hasArguments = steps.some(({ keyword }) => keyword === 'ARG');
  const needs = steps.flatMap((step) => {
    const isOpen = hasArguments && step.keyword !== 'ARG' && step.settings.some(({ value }) => value?.includes('$'));
    const why = isOpen ? `${step.keyword} with a variable, beside ARG` : needOf(step, files);
    return why === undefined ? [] : [`line ${step.line}: ${why}`];
  });
  return needs[0];
}

function needOf(step: Step, files: readonly string[]): string | undefined {
  const { keyword, flags, words, text, settings } = step;
  if (!COMPOSED.has(keyword)) return keyword;
  if (flags.size > 0) return `${keyword} with --${[...flags.keys()][0]}`;
  if (text.includes('<<')) return `${keyword} with a heredoc`;
  if (settings.some(({ name, raw }) => name.includes('$') || ODD_VARIABLE.test(raw))) {
    return `${keyword} with a default in a variable, or a $ that begins none`;
  }
  if (!isPlain(step)) return `${keyword} with quotes or backslashes that change what is in them`;
  if (text === '') return `${keyword} without words`;
  if (ONE_TEXT.has(keyword) && words.length > 1) return `${keyword} of several words`;
  if (keyword === 'COPY' || keyword === 'ADD') return needOfCopy(step, files);
  return ['EXPOSE', 'STOPSIGNAL', 'USER', 'VOLUME', 'WORKDIR'].includes(keyword) && words.some(({ isOpen }) => isOpen)
    ? `${keyword} with a variable of the base`
    : undefined;
}

function isPlain({ keyword, text, exec, settings }: Step): boolean {
  if (settings.length > 0) return settings.every(({ raw }) => PLAIN.test(raw));
  // A command is a text of its own.
  if (keyword === 'CMD' || keyword === 'ENTRYPOINT') return true;
  // Where no list is expected, its brackets and quotes are part of a name.
  return exec !== null && LISTS.has(keyword)
    ? !exec.some((word) => /["'\\]/.test(word))
    : text.split(/\s+/).every((word) => PLAIN.test(word));
}

function needOfCopy({ keyword, words }: Step, files: readonly string[]): string | undefined {
  if (words.some(({ isOpen }) => isOpen)) return `${keyword} with a variable of the base`;
  const sources = words.slice(0, -1).map(({ text }) => text);
  const remote = sources.find((source) => keyword === 'ADD' && (/^\w+:\/\/|^git@/.test(source) || ARCHIVE.test(source)));
  if (remote !== undefined) return `ADD of '${remote}', which is fetched or unpacked`;
  return isAmbiguous(
    words.map(({ text }) => text),
    files,
  )
    ? `${keyword} to what may be a directory of the base; end it with / if it is`
    : undefined;
}
