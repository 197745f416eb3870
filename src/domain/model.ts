import { WherryError } from '../base/errors.js';

/**
 * A repository of a hub that workers find on their disk, written `acme/tiny`, `acme/tiny@v2` or, once it is resolved,
 * `acme/tiny@v2@COMMIT`: as a tag and a digest are to an image.
 */
export interface Model {
  readonly repository: string;
  /** Branch, tag or commit as its author wrote it; `main` when there is none. */
  readonly revision: string;
  /** 40 hex digits; null before it is resolved. */
  readonly commit: string | null;
}

const COMMIT = '[0-9a-f]{40}';
const PART = '[A-Za-z0-9][\\w.-]*';

/** Of a model as text. The hub allows neither `--` nor `..` in names, and `--` divides the parts of a folder's name. */
export const MODEL_PATTERN = `^(?![^@]*--)(?!.*\\.\\.)${PART}(?:/${PART})?(?:@\\w[\\w./-]*)?(?:@${COMMIT})?$`;

/** Throws REQUEST_INVALID. */
export function parseModel(text: string): Model {
  if (!new RegExp(MODEL_PATTERN).test(text)) {
    throw new WherryError('REQUEST_INVALID', `'${text}' is not a model`, {
      hint: 'write ORGANISATION/NAME, with @REVISION behind it for another one than main',
    });
  }
  const [repository = '', revision = 'main', commit = null] = text.split('@');
  return { repository, revision, commit: commit ?? (new RegExp(`^${COMMIT}$`).test(revision) ? revision : null) };
}

/** Inverse of {@link parseModel}. */
export function formatModel({ repository, revision, commit }: Model): string {
  return [repository, revision, ...(commit === null || commit === revision ? [] : [commit])].join('@');
}

/** The folder of a model in a cache of `huggingface_hub`. */
export function folderOf({ repository }: Pick<Model, 'repository'>): string {
  return `models--${repository.replace('/', '--')}`;
}
