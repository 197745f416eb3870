import { join, posix } from 'node:path';
import dockerignoreModule, { type Ignore } from '@balena/dockerignore';
import { readProjectText } from './project-text.js';

/** The package is one function; its types describe an ES module. */
const dockerignore = dockerignoreModule as unknown as (options: { readonly ignorecase: boolean }) => Ignore;

const VERSION_CONTROL = new Set(['.git', '.hg', '.svn']);

/** Never in a handler image, whatever .dockerignore says: version control, installed packages, caches. */
const NEVER = new Set(
  '.git .hg .svn node_modules __pycache__ .venv .tox .nox .cache .pytest_cache .mypy_cache .ruff_cache .wherry .DS_Store'.split(' '),
);

/** Never in an image because they hold secrets: environment files, private keys, credentials of tools. */
const SECRETS = [
  /^\.env(rc|[._-].+)?$/i,
  /\.env$/i,
  /\.(pem|key|p8|p12|pfx|ppk|jks|keystore|kdbx)$/i,
  /^id_(rsa|dsa|ecdsa|ed25519)(\..+)?$/,
  /^\.(netrc|npmrc|pypirc|pgpass|git-credentials|htpasswd)$/,
  /^(aws|gcp|google)?[-_.]?credentials(\.json)?$/i,
  /^service[-_]?account.*\.json$/i,
];
const SECRET_DIRECTORIES = new Set(['.ssh', '.aws', '.gnupg', '.docker', '.kube', '.azure']);

/** Files that say what to do with the project; changing them must not change the image. */
const PROJECT_FILES = new Set(['wherry.yaml', 'wherry.lock', 'Dockerfile', '.dockerignore', '.gitignore', '.gitattributes', '.github']);

export type Verdict = 'keep' | 'leave out' | 'secret';

/** Decides by name alone; `isTop` for entries directly in the project's directory. */
export function judgeName(name: string, isTop: boolean): Verdict {
  if (NEVER.has(name) || name.endsWith('.pyc') || (isTop && PROJECT_FILES.has(name))) return 'leave out';
  if (/^\.env[._-](example|sample|template)$/i.test(name)) return 'keep';
  if (SECRET_DIRECTORIES.has(name) || SECRETS.some((pattern) => pattern.test(name))) return 'secret';
  return 'keep';
}

/** As {@link judgeName} for a package: a folder of sources may be called `credentials`, so the rules for files count for files only. */
export function judgePackageName(name: string, isDirectory: boolean): Verdict {
  if (!isDirectory) return judgeName(name, false);
  if (NEVER.has(name)) return 'leave out';
  return SECRET_DIRECTORIES.has(name) ? 'secret' : 'keep';
}

/** As {@link judgeName} for the context of a Dockerfile, which may copy installed packages and caches. */
export function judgeContextName(name: string): Verdict {
  if (VERSION_CONTROL.has(name)) return 'leave out';
  const verdict = judgeName(name, false);
  return verdict === 'secret' ? 'secret' : 'keep';
}

/** Whether the file at a path may hold a secret, by the names on it; as {@link judgePackageName}. */
export function isSecretPath(path: string): boolean {
  const names = path.split('/');
  return names.some((name, index) => judgePackageName(name, index < names.length - 1) === 'secret');
}

/** What a `.dockerignore` leaves out. */
export interface IgnoreRules {
  (path: string): boolean;
  /** Whether a rule may take something back in below a directory that is left out. */
  mayTakeBack(directory: string): boolean;
}

/** BuildKit prefers the `.dockerignore` that belongs to the Dockerfile. */
export async function readContextIgnore(dir: string, dockerfile: string): Promise<IgnoreRules | undefined> {
  return (await readDockerignore(dir, `${dockerfile}.dockerignore`)) ?? (await readDockerignore(dir));
}

/** A directory's `.dockerignore` (Docker's semantics), or undefined. Throws CONFIG_INVALID when it cannot be read. */
export async function readDockerignore(dir: string, name = '.dockerignore'): Promise<IgnoreRules | undefined> {
  const text = await readProjectText(join(dir, name));
  if (text === undefined) return undefined;
  const rules = dockerignore({ ignorecase: false }).add(text);
  return Object.assign((path: string) => rules.ignores(path), { mayTakeBack: readExceptions(text) });
}

function readExceptions(text: string): IgnoreRules['mayTakeBack'] {
  const begins = [...text.matchAll(/^\s*!\s*(\S.*)$/gm)].map(([, pattern = '']) => fixedPart(pattern.trim()));
  return (directory) => begins.some((begin) => isWithin(begin, directory) || isWithin(directory, begin));
}

/** The directories that a pattern begins with, up to the first name with a wildcard. */
function fixedPart(pattern: string): string {
  const names = posix.normalize(`/${pattern}`).split('/').slice(1);
  const at = names.findIndex((name) => /[*?[\\]/.test(name));
  return names.slice(0, at < 0 ? names.length : at).join('/');
}

const isWithin = (parent: string, path: string) => parent === '' || path === parent || path.startsWith(`${parent}/`);
