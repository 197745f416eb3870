import { parseReference } from '../oci/reference.js';
import type { Dockerfile, Stage, Step } from './dockerfile.js';
import type { Fault } from './lint-finding.js';

/** The fewest words of each instruction that is refused without them. */
const FEWEST: Readonly<Record<string, string>> = {
  ADD: 'source target',
  ARG: 'NAME',
  COPY: 'source target',
  ENV: 'NAME=value',
  EXPOSE: '8000',
  HEALTHCHECK: 'NONE',
  LABEL: 'name=value',
  MAINTAINER: 'name',
  ONBUILD: 'instruction',
  SHELL: '["/bin/sh","-c"]',
  STOPSIGNAL: 'SIGTERM',
  USER: '1000',
  VOLUME: '/path',
  WORKDIR: '/path',
};

/** Instructions that name too little for any engine. */
export function findMissingWords({ head, stages }: Dockerfile): readonly Fault[] {
  return [...head, ...stages.flatMap(({ steps }) => steps)].filter(lacksWords).map(({ keyword, line, text }) => ({
    line,
    problem: text === '' ? `${keyword} names nothing` : `${keyword} of '${text}' alone`,
    fix: `write ${keyword} ${FEWEST[keyword]}`,
  }));
}

function lacksWords({ keyword, words, settings }: Step): boolean {
  const fewest = FEWEST[keyword]?.split(' ').length ?? 0;
  // An argument of the build may have no value.
  return words.length < fewest || (keyword !== 'ARG' && settings.some(({ value }) => value === null));
}

/** Stages, or a whole Dockerfile, with no image to begin with. */
export function findMissingBases({ stages }: Dockerfile): readonly Fault[] {
  const fix = 'begin with the base image: FROM name:tag';
  if (stages.length === 0) return [{ line: 1, problem: 'there is no FROM', fix }];
  return stages.flatMap((stage, at) => {
    const problem = problemOf(stage, stages.slice(0, at));
    return problem === undefined ? [] : [{ line: stage.line, problem, fix }];
  });
}

function problemOf({ base, words }: Stage, earlier: readonly Stage[]): string | undefined {
  if (base.text === '') return 'FROM names no image';
  if (words.length !== 1 && (words.length !== 3 || words[1]?.text.toUpperCase() !== 'AS'))
    return 'FROM takes an image, or an image AS name';
  const isStage = earlier.some(({ name }) => name?.toLowerCase() === base.text.toLowerCase());
  return base.isOpen || isStage || isReference(base.text) ? undefined : `'${base.text}' is no image reference`;
}

function isReference(text: string): boolean {
  try {
    parseReference(text);
    return true;
  } catch {
    return false;
  }
}
