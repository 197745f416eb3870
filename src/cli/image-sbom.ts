import { WherryError } from '../base/errors.js';
import { SBOM_TYPE } from '../image/sbom.js';
import { attachDocument, findDocument } from '../registry/referrers.js';
import type { NamedImage } from './image-source.js';

/** The list of software that is attached to an image, or undefined. */
export async function findSbom({ repository, source }: NamedImage): Promise<string | undefined> {
  if (!repository) return undefined;
  const wanted = { subject: source.descriptor.digest, artifactType: SBOM_TYPE };
  const bytes = await findDocument(repository.client, repository.name, wanted);
  return bytes && Buffer.from(bytes).toString('utf8');
}

/** Attaches the list of an image's software in its registry. Throws USAGE for an image that is in none, and what the client throws. */
export async function attachSbom({ repository, source, name }: NamedImage, text: string): Promise<void> {
  if (!repository) throw new WherryError('USAGE', `image '${name}' is in no registry`, { hint: 'push it, and name it by its reference' });
  const bytes = Buffer.from(text);
  await attachDocument(repository.client, { repository: repository.name, subject: source.descriptor, artifactType: SBOM_TYPE, bytes });
}
