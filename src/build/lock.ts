import { join } from 'node:path';
import { WherryError } from '../base/errors.js';
import { type Digest, isDigest } from '../oci/digest.js';
import { replaceDurably } from '../oci/durable-file.js';
import { formatReference, parseReference } from '../oci/reference.js';
import { readProjectText } from './project-text.js';

/** The name of the lock file; it belongs into version control beside `wherry.yaml`. */
const LOCK_FILE = 'wherry.lock';

/** What names of base images mean for a project, until somebody asks anew. */
export interface BaseLock {
  /** `name:tag@sha256:…` of a base; asks its registry and writes the file when the name is new in it. Throws what `resolve` throws. */
  pin(reference: string): Promise<string>;
}

export interface BaseLockOptions {
  /** The project's directory. */
  readonly dir: string;
  /** Ask for every base again. */
  readonly isUpdate: boolean;
  /** The digest that a name has in its registry now. */
  readonly resolve: (reference: string) => Promise<Digest>;
}

type Bases = Readonly<Record<string, Digest>>;

/** Reads the project's lock file, if it has one. Throws CONFIG_INVALID. */
export async function openBaseLock({ dir, isUpdate, resolve }: BaseLockOptions): Promise<BaseLock> {
  const file = join(dir, LOCK_FILE);
  const known = await readBases(file);
  const asked = new Map<string, Digest>();
  return {
    async pin(text) {
      const reference = parseReference(text);
      if (reference.digest) return text;
      const digest = asked.get(text) ?? (isUpdate ? undefined : known[text]) ?? (await resolve(text));
      asked.set(text, digest);
      if (known[text] !== digest) await writeBases(file, { ...known, ...Object.fromEntries(asked) });
      return formatReference({ ...reference, digest });
    },
  };
}

async function writeBases(file: string, bases: Bases): Promise<void> {
  const sorted = Object.fromEntries(Object.entries(bases).sort(([a], [b]) => (a < b ? -1 : 1)));
  await replaceDurably(file, `${JSON.stringify({ version: 1, bases: sorted }, null, 2)}\n`);
}

async function readBases(file: string): Promise<Bases> {
  const text = await readProjectText(file);
  if (text === undefined) return {};
  const { version, bases } = parseLock(text);
  if (version !== 1) throw invalid(`its version is '${String(version)}', known is 1`);
  const entries = Object.entries((bases ?? {}) as Record<string, unknown>);
  const bad = entries.find(([, digest]) => typeof digest !== 'string' || !isDigest(digest));
  if (bad) throw invalid(`'${bad[0]}' has '${String(bad[1])}', which is no digest`);
  return Object.fromEntries(entries) as Bases;
}

function parseLock(text: string): { readonly version?: unknown; readonly bases?: unknown } {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value;
  } catch (cause) {
    throw invalid('it is not JSON', cause);
  }
  throw invalid('it is not a JSON object');
}

function invalid(why: string, cause?: unknown): WherryError {
  return new WherryError('CONFIG_INVALID', `${LOCK_FILE} cannot be used: ${why}`, {
    hint: 'take it back from version control, or remove it and build with --update-base',
    cause,
  });
}
