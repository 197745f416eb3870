import { access, readdir, readFile, rm, rmdir, stat, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { WherryError } from '../base/errors.js';
import { type Digest, parseDigest } from '../oci/digest.js';
import { syncDirectory } from '../oci/durable-file.js';
import { isRepository, isTag } from '../oci/reference.js';
import { unlessMissing } from './blob-files.js';

/** Paths of repositories on disk. Each is built from checked names only: a bad one throws NAME_INVALID or DIGEST_INVALID. */
export interface RepositoryTree {
  blob(repository: string, digest: Digest): string;
  blobs(repository: string): string;
  manifest(repository: string, digest: Digest): string;
  manifests(repository: string): string;
  tag(repository: string, tag: string): string;
  tags(repository: string): string;
  referrer(entry: { readonly repository: string; readonly subject: Digest; readonly digest: Digest }): string;
  referrers(repository: string, subject: Digest): string;
  /** Names of all repositories, sorted by bytes. */
  listRepositories(): Promise<readonly string[]>;
  /** Removes a repository's entries, and not those of repositories below it; idempotent. */
  remove(repository: string): Promise<void>;
}

/** The tree below `root`; nothing is made until an entry is written. */
export function openRepositoryTree(root: string): RepositoryTree {
  const folder = (repository: string, name: string) => join(root, checkedName(repository), name);
  return {
    blob: (repository, digest) => join(folder(repository, '_blobs'), hexOf(digest)),
    blobs: (repository) => folder(repository, '_blobs'),
    manifest: (repository, digest) => join(folder(repository, '_manifests'), hexOf(digest)),
    manifests: (repository) => folder(repository, '_manifests'),
    tag: (repository, tag) => join(folder(repository, '_tags'), checkedTag(tag)),
    tags: (repository) => folder(repository, '_tags'),
    referrer: ({ repository, subject, digest }) => join(folder(repository, '_referrers'), hexOf(subject), hexOf(digest)),
    referrers: (repository, subject) => join(folder(repository, '_referrers'), hexOf(subject)),
    listRepositories: () => listNames(root, ''),
    async remove(repository) {
      for (const name of ['_tags', '_referrers', '_manifests', '_blobs'])
        await rm(folder(repository, name), { recursive: true, force: true });
      await rmdir(join(root, checkedName(repository))).catch(() => {
        // Repositories below it keep the folder.
      });
    },
  };
}

/** The text of an entry, or undefined when there is none. */
export function readEntry(file: string): Promise<string | undefined> {
  return unlessMissing(readFile(file, 'utf8'));
}

/** Whether there is such an entry. */
export function hasEntry(file: string): Promise<boolean> {
  return unlessMissing(access(file).then(() => true)).then((found) => found ?? false);
}

/** Removes an entry durably; idempotent. */
export async function removeEntry(file: string): Promise<void> {
  await rm(file, { force: true });
  await unlessMissing(syncDirectory(dirname(file)));
}

/** Names in a folder, sorted by bytes, or undefined when there is no such folder. */
export async function listEntries(dir: string): Promise<string[] | undefined> {
  return (await unlessMissing(readdir(dir)))?.sort();
}

/** Names in a folder with the time, in milliseconds, at which each was written; sorted by bytes, empty when there is no such folder. */
export async function listDatedEntries(dir: string): Promise<readonly { readonly name: string; readonly writtenAt: number }[]> {
  const entries: { readonly name: string; readonly writtenAt: number }[] = [];
  for (const name of (await listEntries(dir)) ?? []) {
    const found = await unlessMissing(stat(join(dir, name)));
    if (found) entries.push({ name, writtenAt: found.mtimeMs });
  }
  return entries;
}

/** Gives an entry another time, in milliseconds; nothing when there is no such entry. */
export async function touchEntry(file: string, at: number): Promise<void> {
  await unlessMissing(utimes(file, at / 1000, at / 1000));
}

async function listNames(root: string, prefix: string): Promise<string[]> {
  const entries = await unlessMissing(readdir(join(root, prefix), { withFileTypes: true }));
  const names = (entries ?? []).filter((entry) => entry.isDirectory()).map(({ name }) => name);
  const isNamed = prefix !== '' && names.some((name) => name === '_manifests' || name === '_blobs');
  const below = names.filter((name) => !name.startsWith('_')).map((name) => listNames(root, prefix === '' ? name : `${prefix}/${name}`));
  return [...(isNamed ? [prefix] : []), ...(await Promise.all(below)).flat()].sort();
}

function checkedName(repository: string): string {
  if (isRepository(repository)) return repository;
  throw new WherryError('NAME_INVALID', `not a repository name: '${repository}'`, {
    hint: 'use lower-case letters, digits, and single . _ - between them',
  });
}

function checkedTag(tag: string): string {
  if (isTag(tag)) return tag;
  throw new WherryError('NAME_INVALID', `not a tag: '${tag}'`, {
    hint: 'use at most 128 letters, digits, and . _ -, beginning with a letter, digit or _',
  });
}

function hexOf(digest: Digest): string {
  return parseDigest(digest).slice('sha256:'.length);
}
