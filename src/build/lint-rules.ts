import { isFloating, parseReference } from '../oci/reference.js';
import { isSecretName } from '../oci/secret-name.js';
import type { Dockerfile, Stage, Step } from './dockerfile.js';
import { findEndOfLife } from './lint-bases.js';
import type { LintContext } from './lint-context.js';
import { findDownloads } from './lint-downloads.js';
import type { Fault, Severity } from './lint-finding.js';
import { findMissingSources } from './lint-sources.js';
import { findMissingBases, findMissingWords } from './lint-words.js';

export interface LintRule {
  readonly name: string;
  readonly severity: Severity;
  /** What it is good for. */
  readonly why: string;
  readonly find: (dockerfile: Dockerfile, context: LintContext) => readonly Fault[];
}

export const LINT_RULES: readonly LintRule[] = [
  { name: 'unknown-instruction', severity: 'error', why: 'the engine refuses the Dockerfile', find: findUnknown },
  { name: 'missing-base', severity: 'error', why: 'the image has nothing to begin with', find: findMissingBases },
  { name: 'missing-word', severity: 'error', why: 'the engine refuses an instruction that names too little', find: findMissingWords },
  {
    name: 'missing-source',
    severity: 'error',
    why: 'the build ends at a COPY or ADD of a path that is not in the context',
    find: findMissingSources,
  },
  { name: 'unpinned-base', severity: 'warning', why: 'the same Dockerfile gives another image tomorrow', find: findUnpinned },
  { name: 'end-of-life-base', severity: 'warning', why: 'nobody mends the base any more', find: findEnded },
  { name: 'missing-command', severity: 'warning', why: 'the worker has nothing to run', find: findNoCommand },
  { name: 'buffered-output', severity: 'warning', why: 'without -u the last lines of a worker that dies are lost', find: findBuffered },
  {
    name: 'secret-in-image',
    severity: 'error',
    why: 'values of ENV and ARG can be read by everybody who has the image',
    find: findSecrets,
  },
  { name: 'download-at-start', severity: 'warning', why: 'every cold start waits for the download', find: findDownloads },
  { name: 'cache-in-layer', severity: 'warning', why: 'caches make the image larger and nobody reads them', find: findCaches },
  { name: 'large-context', severity: 'warning', why: 'the whole context travels to the engine', find: findLargeContext },
  { name: 'add-for-copy', severity: 'warning', why: 'ADD also unpacks and downloads; COPY says what is meant', find: findAdds },
];

const KEYWORDS = new Set(
  'ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER VOLUME WORKDIR'.split(' '),
);

const stepsOf = ({ stages }: Dockerfile, ...keywords: readonly string[]): readonly Step[] =>
  stages.flatMap(({ steps }) => steps.filter(({ keyword }) => keywords.includes(keyword)));

function findUnknown({ head, stages }: Dockerfile): readonly Fault[] {
  const unknown = [...head, ...stages.flatMap(({ steps }) => steps)].filter(({ keyword }) => !KEYWORDS.has(keyword));
  return unknown.map(({ line, keyword }) => ({ line, problem: `'${keyword}' is not an instruction`, fix: 'correct its name' }));
}

interface Base {
  readonly line: number;
  readonly text: string;
  readonly repository: string;
  readonly tag: string | undefined;
  readonly isFloating: boolean;
}

/** Images of the stages; not scratch, not earlier stages, not what a build argument decides. */
function basesOf({ stages }: Dockerfile): readonly Base[] {
  return stages.flatMap(({ base, line }, at) => {
    const isStage = stages.slice(0, at).some(({ name }) => name?.toLowerCase() === base.text.toLowerCase());
    if (isStage || base.isOpen || base.text === 'scratch' || base.text === '') return [];
    try {
      const named = parseReference(base.text);
      return [{ line, text: base.text, repository: named.repository, tag: named.tag, isFloating: isFloating(named) }];
    } catch {
      return [];
    }
  });
}

function findUnpinned(dockerfile: Dockerfile): readonly Fault[] {
  return basesOf(dockerfile)
    .filter((base) => base.isFloating)
    .map(({ line, text, tag }) => ({
      line,
      problem: tag === undefined ? `'${text}' has no tag, which means latest` : `'${text}' is whatever is newest`,
      fix: 'name a version, better with its digest: name:1.2.3@sha256:…',
    }));
}

function findEnded(dockerfile: Dockerfile, { now }: LintContext): readonly Fault[] {
  return basesOf(dockerfile).flatMap(({ line, text, repository, tag = '' }) => {
    const end = findEndOfLife(repository, tag, now);
    return end === undefined ? [] : [{ line, problem: `'${text}' is not mended since ${end}`, fix: 'use a version that is' }];
  });
}

const lastOf = ({ stages }: Dockerfile): Stage | undefined => stages.at(-1);
const commandOf = (stage: Stage | undefined): Step | undefined =>
  stage?.steps.findLast(({ keyword }) => keyword === 'CMD') ?? stage?.steps.findLast(({ keyword }) => keyword === 'ENTRYPOINT');

function findNoCommand(dockerfile: Dockerfile): readonly Fault[] {
  const last = lastOf(dockerfile);
  if (!last || commandOf(last)) return [];
  return [
    { line: last.line, problem: 'the last stage has neither CMD nor ENTRYPOINT', fix: 'end with CMD ["python", "-u", "/handler.py"]' },
  ];
}

function findBuffered(dockerfile: Dockerfile): readonly Fault[] {
  const command = commandOf(lastOf(dockerfile));
  const isPython = command && /(^|[\s"/[])python[\d.]*["\s]/.test(command.text);
  if (!isPython || /["\s]-\w*u/.test(command.text)) return [];
  const isSet = stepsOf(dockerfile, 'ENV').some(({ settings }) => settings.some(({ name, value }) => name === 'PYTHONUNBUFFERED' && value));
  if (isSet) return [];
  return [
    {
      line: command.line,
      problem: "python runs without '-u', so its output waits in a buffer",
      fix: 'write python -u, or ENV PYTHONUNBUFFERED=1',
    },
  ];
}

/** Numbers, switches, paths of files that hold the secret, and other variables. */
const NO_SECRET = /^(\d*|true|false|yes|no|on|off|none|\/.*|.*\$.*)$/i;

function findSecrets({ head, stages }: Dockerfile): readonly Fault[] {
  const steps = [...head, ...stages.flatMap(({ steps: all }) => all)];
  return steps.flatMap(({ keyword, settings }) =>
    settings
      .filter(({ name, value }) => isSecretName(name) && (value === null || !NO_SECRET.test(value) || (keyword === 'ARG' && value === '')))
      .map(({ name, line }) => ({
        line,
        problem: `'${name}' looks like a secret, and ${keyword} keeps it in the image's history`,
        fix: keyword === 'ARG' ? 'use RUN --mount=type=secret' : "set it on the endpoint: 'env' in wherry.yaml",
      })),
  );
}

interface Cache {
  readonly fills: RegExp;
  readonly empties: RegExp;
  readonly fix: string;
}

const CACHES: readonly Cache[] = [
  {
    fills: /\bapt(-get)?\s+(-\S+\s+)*install\b/,
    empties: /rm\s+-\w*r\w*\s+[^&;]*\/var\/lib\/apt\/lists/,
    fix: 'end the RUN with && rm -rf /var/lib/apt/lists/*',
  },
  {
    fills: /\bpip3?\s+(-\S+\s+)*install\b/,
    empties: /--no-cache-dir\b|\bpip3?\s+cache\s+purge\b/,
    fix: 'pip install --no-cache-dir, or RUN --mount=type=cache,target=/root/.cache/pip',
  },
  { fills: /\bapk\s+(-\S+\s+)*add\b/, empties: /--no-cache\b|\/var\/cache\/apk/, fix: 'apk add --no-cache' },
  { fills: /\b(yum|dnf)\s+(-\S+\s+)*install\b/, empties: /\b(yum|dnf)\s+clean\s+all\b/, fix: 'end the RUN with && dnf clean all' },
  { fills: /\bconda\s+install\b/, empties: /\bconda\s+clean\b/, fix: 'end the RUN with && conda clean -afy' },
];

function findCaches(dockerfile: Dockerfile): readonly Fault[] {
  const environment = stepsOf(dockerfile, 'ENV').flatMap(({ settings }) => settings);
  const isPipOff = environment.some(({ name, value }) => name === 'PIP_NO_CACHE_DIR' && value);
  // Only the last stage becomes layers of the image.
  const runs = (lastOf(dockerfile)?.steps ?? []).filter(
    ({ keyword, flags }) => keyword === 'RUN' && !(flags.get('mount') ?? '').includes('type=cache'),
  );
  return runs.flatMap(({ line, text }) =>
    CACHES.filter(({ fills, empties }) => fills.test(text) && !empties.test(text))
      .filter(({ fills }) => !(isPipOff && fills.source.includes('pip3')))
      .map(({ fix }) => ({ line, problem: 'the cache of the package manager stays in the layer', fix })),
  );
}

const LARGE_BYTES = 100 * 1024 * 1024;

function findLargeContext(_dockerfile: Dockerfile, { bytes, hasIgnoreFile }: LintContext): readonly Fault[] {
  if (hasIgnoreFile || bytes < LARGE_BYTES) return [];
  const size = `${Math.round(bytes / 1024 / 1024)} MiB`;
  return [
    {
      line: 1,
      problem: `the context has ${size} and there is no .dockerignore`,
      fix: 'name what the image does not need in .dockerignore',
    },
  ];
}

function findAdds(dockerfile: Dockerfile): readonly Fault[] {
  return stepsOf(dockerfile, 'ADD').flatMap(({ line, words }) => {
    const sources = words.slice(0, -1).map(({ text }) => text);
    const isMeant = sources.some((text) => /^(https?|git|ssh):|^git@|\.(tar|tgz|tar\.\w+|tbz2?|txz)$/.test(text));
    return isMeant || sources.length === 0
      ? []
      : [{ line, problem: 'ADD of plain files', fix: `COPY ${words.map(({ text }) => text).join(' ')}` }];
  });
}
