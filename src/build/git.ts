import { execFile } from 'node:child_process';
import { mkdtemp, realpath, rm, stat } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
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
  /** Why there is no revision although there is a repository. */
  readonly warnings: readonly string[];
}

/** Reads git's state of `dir`; without git or with uncommitted changes there is no revision. */
export async function readSourceState(dir: string, sourceDateEpoch: string | undefined): Promise<SourceState> {
  const epoch = sourceDateEpoch !== undefined && /^\d+$/.test(sourceDateEpoch) ? Number(sourceDateEpoch) : undefined;
  if (!(await isInRepository(dir))) return { revision: null, versions: [], source: null, createdAt: epoch ?? 0, warnings: [] };
  const [commit, status, origin] = await Promise.all([
    ask(dir, ['log', '-1', '--decorate-refs=refs/tags/', '--format=%H%n%ct%n%D']),
    // Files that the user's settings hide from git are in the image all the same.
    ask(dir, ['status', '--porcelain', '--untracked-files=normal', '--ignore-submodules=none', '--', '.']),
    // As it is written there: what the user's settings make of it would be another label on each machine.
    ask(dir, ['config', '--local', '--includes', '--get-all', 'remote.origin.url']),
  ]);
  const [hash, time, names = ''] = commit.text?.split('\n') ?? [];
  const source = origin.text ? withoutCredentials(firstLine(origin.text)) : null;
  const why = commit.fault ?? status.fault ?? firstChange(status.text ?? '');
  if (hash === undefined || why !== undefined) {
    return {
      revision: null,
      versions: [],
      source,
      createdAt: epoch ?? 0,
      warnings: [`the image records no revision: ${why ?? 'git names none'}`],
    };
  }
  return { revision: hash, versions: versionsOf(names), source, createdAt: epoch ?? Number(time), warnings: [] };
}

const firstLine = (text: string) => text.split('\n')[0] ?? '';

/** What is not as git has it, by the first of the paths in `git status --porcelain`. */
function firstChange(status: string): string | undefined {
  return status === '' ? undefined : `'${firstLine(status).replace(/^\S+\s+/, '')}' is not committed as it is`;
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

async function git(dir: string, args: readonly string[]): Promise<string | undefined> {
  return (await ask(dir, args)).text;
}

/** What git printed, or why it did not. */
type Told = { readonly text: string; readonly fault?: never } | { readonly text?: never; readonly fault: string };

function ask(dir: string, args: readonly string[]): Promise<Told> {
  // The user's settings count, as for `git status` in a terminal: what is ignored, whose directories are safe, how large files are filtered.
  const env = { ...gitEnvironment, ...findHome() };
  return new Promise((resolve) => {
    execFile('git', [...SAFE, '-C', dir, ...args], { timeout: TIMEOUT_MS, env }, (error, stdout, stderr) => {
      if (!error) return resolve({ text: stdout.trim() });
      const said = firstLine(stderr.trim()).replace(/^fatal: /, '');
      resolve({ fault: said === '' ? `git could not be asked: ${error.message}` : `git says: ${said}` });
    });
  });
}

/** Not everybody has one: users of containers may have no name. */
function findHome(): { readonly HOME?: string } {
  try {
    return { HOME: homedir() };
  } catch {
    return {};
  }
}

/** A repository's own settings may name programs to run: for every look at its state, every checkout, every log. Colours would be in the answers. */
const SETTINGS = ['core.fsmonitor=false', 'core.hooksPath=/dev/null', 'log.showSignature=false', 'color.ui=false'];
const SAFE = SETTINGS.flatMap((setting) => ['-c', setting]);

/** Asks nobody for passwords and takes no lock. */
const gitEnvironment = {
  GIT_TERMINAL_PROMPT: '0',
  GIT_OPTIONAL_LOCKS: '0',
  LC_ALL: 'C',
  PATH: '/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin',
};
