import { chmod, link, mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { systemCodeOf } from '../base/errors.js';
import { folderOf, type Model } from '../domain/model.js';
import { syncDirectory } from '../oci/durable-file.js';
import type { ModelFile } from './hub.js';

/** One model of a set. */
export interface Part {
  readonly model: Model;
  readonly commit: string;
  readonly files: readonly ModelFile[];
}

export interface SetPlan {
  /** Directory of all sets. */
  readonly sets: string;
  /** Name of this one. */
  readonly key: string;
  readonly parts: readonly Part[];
  /** Where a file lies, once for all. */
  readonly blobOf: (file: ModelFile) => string;
}

/**
 * Makes a cache as `huggingface_hub` reads it: `models--ORG--NAME/` with `blobs/HASH`, `snapshots/COMMIT/PATH` (a link to its blob) and
 * `refs/REVISION` (a file with the commit). It appears whole or not at all; its list is written last. Idempotent.
 */
export async function writeSet({ sets, key, parts, blobOf }: SetPlan): Promise<void> {
  const [target, list, draft] = [join(sets, key), join(sets, `${key}.json`), join(sets, `${key}.draft`)];
  await rm(list, { force: true });
  await rm(draft, { recursive: true, force: true });
  await mkdir(draft, { recursive: true });
  for (const part of parts) await writeModel(join(draft, folderOf(part.model)), part, blobOf);
  await chmod(draft, OPEN);
  await rm(target, { recursive: true, force: true });
  await rename(draft, target);
  await syncDirectory(sets);
  await writeFile(`${list}.new`, JSON.stringify(parts.map(({ commit, files }) => ({ commit, files }))));
  await rename(`${list}.new`, list);
}

/** Workers of any user read there. */
const OPEN = 0o755;

async function writeModel(dir: string, { model, commit, files }: Part, blobOf: SetPlan['blobOf']): Promise<void> {
  await makeFolder(join(dir, 'blobs'));
  for (const file of files) await unlessThere(link(blobOf(file), join(dir, 'blobs', file.hash)));
  const snapshot = join(dir, 'snapshots', commit);
  await makeFolder(snapshot);
  for (const { path, hash } of files) {
    const place = join(snapshot, path);
    await makeFolder(dirname(place));
    await unlessThere(symlink(relative(dirname(place), join(dir, 'blobs', hash)), place));
  }
  if (model.revision === commit) return;
  const ref = join(dir, 'refs', model.revision);
  await makeFolder(dirname(ref));
  await writeFile(ref, commit, { mode: 0o644 });
  await chmod(ref, 0o644);
}

/** Files may be equal, and a set may have a repository at several revisions. */
async function unlessThere(made: Promise<void>): Promise<void> {
  await made.catch((thrown: unknown) => {
    if (systemCodeOf(thrown) !== 'EEXIST') throw thrown;
  });
}

/** Makes folders that everybody may enter, whatever the server's own mask. */
async function makeFolder(dir: string): Promise<void> {
  const first = await mkdir(dir, { recursive: true });
  if (first === undefined) return;
  for (let made = dir; made.length >= first.length; made = dirname(made)) await chmod(made, OPEN);
}
