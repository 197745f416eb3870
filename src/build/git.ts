import { execFile } from 'node:child_process';
import { mkdtemp, realpath, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { WherryError } from '../base/errors.js';
import { compareVersionTags, parseVersionTag } from '../oci/semver-tag.js';

/** Where the project's source is from: inputs of the image's labels. */
export interface SourceState {
  /** Commit id, or null outside git and for a tree with changes. */
  readonly revision: string | null;
  /** Semantic versions among git's tags of the revision, without `v`, the newest first. */
  readonly versions: readonly string[];
  /** URL of `origin` without credentials, or null. */
  readonly source: string | null;
  /** Seconds since the epoch: SOURCE_DATE_EPOCH, else the commit's time, else 0. */
  readonly createdAt: number;
}

/** Reads git's state of `dir`; without git or with uncommitted changes there is no revision. */
export async function readSourceState(dir: string, sourceDateEpoch: string | undefined): Promise<SourceState> {
  const [commit, changes, origin] = (await isInRepository(dir))
    ? await Promise.all([
        git(dir, ['log', '-1', '--decorate-refs=refs/tags/', '--format=%H%n%ct%n%D']),
        git(dir, ['status', '--porcelain', '--', '.']),
        git(dir, ['remote', 'get-url', 'origin']),
      ])
    : [];
  const [hash, time, names = ''] = commit?.split('\n') ?? [];
  const isClean = hash !== undefined && changes === '';
  const epoch = sourceDateEpoch !== undefined && /^\d+$/.test(sourceDateEpoch) ? Number(sourceDateEpoch) : undefined;
  return {
    revision: isClean ? hash : null,
    versions: isClean ? versionsOf(names) : [],
    source: origin ? withoutCredentials(origin) : null,
    createdAt: epoch ?? (isClean ? Number(time) : 0),
  };
}

/** Whether git would find a repository around `dir`: most of a build without changes would be the start of programs that find none. */
async function isInRepository(dir: string): Promise<boolean> {
  for (let place = await realpath(dir); ; place = dirname(place)) {
    if (await stat(join(place, '.git')).then(Boolean, () => false)) return true;
    if (place === dirname(place)) return false;
  }
}

/** `tags` are names as git decorates a commit with them: `tag: v1.2.0, tag: stable`. */
function versionsOf(tags: string): readonly string[] {
  const found = tags.split(', ').flatMap((name) => {
    const tag = name.replace(/^tag: /, '');
    const version = parseVersionTag(tag);
    return version ? [{ tag: tag.replace(/^v/, ''), version }] : [];
  });
  return found.sort((a, b) => compareVersionTags(b.version, a.version)).map(({ tag }) => tag);
}

/** The files of a revision, beside those that are there now. */
export interface CheckedOut {
  /** The same directory of the project as `dir`, with the same name. */
  readonly dir: string;
  remove(): Promise<void>;
}

/** Checks a revision of the repository around `dir` out into a directory of its own. Throws NOT_FOUND when git does not know it. */
export async function checkOut(dir: string, revision: string): Promise<CheckedOut> {
  const [top, prefix] = await Promise.all([git(dir, ['rev-parse', '--show-toplevel']), git(dir, ['rev-parse', '--show-prefix'])]);
  if (top === undefined || prefix === undefined) {
    throw new WherryError('NOT_FOUND', `'${dir}' is in no git repository`, { hint: "give the directory of the image's project" });
  }
  const scratch = await mkdtemp(join(tmpdir(), 'wherry-checkout-'));
  // Projects without a name in their file are named like their directory.
  const tree = join(scratch, basename(top));
  const remove = async () => {
    await git(dir, ['worktree', 'remove', '--force', tree]);
    await rm(scratch, { recursive: true, force: true });
  };
  if ((await git(dir, ['worktree', 'add', '--quiet', '--detach', tree, revision])) !== undefined)
    return { dir: join(tree, prefix), remove };
  await remove();
  throw new WherryError('NOT_FOUND', `the repository of '${dir}' has no revision ${revision}`, {
    hint: "fetch it, or give the directory of the image's project",
  });
}

function withoutCredentials(origin: string): string {
  return origin.replace(/^([a-z+]+:\/\/)[^/]*@/i, '$1');
}

/** A checkout of a large repository takes a while. */
const TIMEOUT_MS = 120_000;

function git(dir: string, args: readonly string[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile('git', [...SAFE, '-C', dir, ...args], { timeout: TIMEOUT_MS, env: { ...gitEnvironment } }, (error, stdout) =>
      resolve(error ? undefined : stdout.trim()),
    );
  });
}

/** A repository's own settings may name programs to run: for every look at its state, every checkout, every log. */
const SAFE = ['core.fsmonitor=false', 'core.hooksPath=/dev/null', 'log.showSignature=false'].flatMap((setting) => ['-c', setting]);

/** Asks nobody for passwords and takes no lock. */
const gitEnvironment = {
  GIT_TERMINAL_PROMPT: '0',
  GIT_OPTIONAL_LOCKS: '0',
  LC_ALL: 'C',
  PATH: '/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin',
};
