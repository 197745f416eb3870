import { execFile } from 'node:child_process';
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
  const [commit, changes, origin, tags] = await Promise.all([
    git(dir, ['log', '-1', '--format=%H %ct']),
    git(dir, ['status', '--porcelain', '--', '.']),
    git(dir, ['remote', 'get-url', 'origin']),
    git(dir, ['tag', '--points-at', 'HEAD']),
  ]);
  const [hash, time] = commit?.split(' ') ?? [];
  const isClean = hash !== undefined && changes === '';
  const epoch = sourceDateEpoch !== undefined && /^\d+$/.test(sourceDateEpoch) ? Number(sourceDateEpoch) : undefined;
  return {
    revision: isClean ? hash : null,
    versions: isClean ? versionsOf(tags ?? '') : [],
    source: origin ? withoutCredentials(origin) : null,
    createdAt: epoch ?? (isClean ? Number(time) : 0),
  };
}

function versionsOf(tags: string): readonly string[] {
  const found = tags.split('\n').flatMap((tag) => {
    const version = parseVersionTag(tag);
    return version ? [{ tag: tag.replace(/^v/, ''), version }] : [];
  });
  return found.sort((a, b) => compareVersionTags(b.version, a.version)).map(({ tag }) => tag);
}

function withoutCredentials(origin: string): string {
  return origin.replace(/^([a-z+]+:\/\/)[^@/]*@/, '$1');
}

function git(dir: string, args: readonly string[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile('git', ['-C', dir, ...args], { timeout: 10_000, env: { ...gitEnvironment } }, (error, stdout) =>
      resolve(error ? undefined : stdout.trim()),
    );
  });
}

/** Asks nobody for passwords and takes no lock. */
const gitEnvironment = {
  GIT_TERMINAL_PROMPT: '0',
  GIT_OPTIONAL_LOCKS: '0',
  LC_ALL: 'C',
  PATH: '/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin',
};
