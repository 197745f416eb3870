import { WherryError } from '../base/errors.js';
import { type Descriptor, MEDIA_TYPES } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { isIndex, parseManifest } from '../oci/manifest.js';
import { isTag } from '../oci/reference.js';
import type { Received, Transport } from './transport.js';

/** One repository as its registry names it. */
export interface ListedRepository {
  readonly transport: Transport;
  /** For messages. */
  readonly registry: string;
  /** `/v2/NAME`. */
  readonly path: string;
}

const PAGE_LIMIT_BYTES = 4 * 1024 * 1024;
/** More pages than this come only from a registry that goes in a circle. */
const PAGE_LIMIT = 1_000;

/** All tags of a repository, in the registry's order (distribution-spec, "Listing Tags"). Throws NAME_UNKNOWN. */
export async function listTags(place: ListedRepository): Promise<readonly string[]> {
  const tags: string[] = [];
  for await (const page of readPages(place, `${place.path}/tags/list`)) {
    if (page === undefined) {
      throw new WherryError('NAME_UNKNOWN', `repository '${nameOf(place)}' is not in registry '${place.registry}'`, {
        hint: 'check the name; only what was pushed is there',
      });
    }
    const listed = (parsePage(place, page) as { readonly tags?: unknown }).tags;
    // A registry may answer null for a repository that lost its last tag.
    for (const tag of Array.isArray(listed) ? listed : []) if (typeof tag === 'string' && isTag(tag)) tags.push(tag);
  }
  return tags;
}

/** Manifests whose subject is `digest` (distribution-spec, "Listing Referrers"); undefined when the registry knows no such list. */
export async function listReferrers(place: ListedRepository, digest: Digest): Promise<readonly Descriptor[] | undefined> {
  const found: Descriptor[] = [];
  for await (const page of readPages(place, `${place.path}/referrers/${digest}`, MEDIA_TYPES.index)) {
    if (page === undefined) return undefined;
    const index = parseManifest(page);
    if (isIndex(index)) found.push(...index.manifests);
  }
  return found;
}

/** Bodies of a list that goes on as its Link says (RFC 8288); one undefined when there is no such list. */
async function* readPages(place: ListedRepository, first: string, type = 'application/json'): AsyncIterable<Buffer | undefined> {
  const scopes = [`repository:${nameOf(place)}:pull`];
  let path: string | undefined = first;
  for (let pages = 0; path !== undefined; pages += 1) {
    if (pages === PAGE_LIMIT)
      throw new WherryError('REGISTRY_UNAVAILABLE', `registry '${place.registry}' lists without an end`, {
        hint: 'ask who runs the registry: the pages of its list go on for ever',
      });
    const call = { method: 'GET', path, scopes, headers: { accept: type }, accept: [200, 404] } as const;
    const answer: Received = await place.transport.receive(call, PAGE_LIMIT_BYTES);
    yield answer.statusCode === 404 ? undefined : answer.bytes;
    path = answer.statusCode === 404 ? undefined : nextPage(answer, path);
  }
}

/** The next page's path on the same registry, whatever host the Link names: credentials go nowhere else. */
function nextPage({ headers }: Received, path: string): string | undefined {
  const link = [headers['link'] ?? []].flat().join(', ');
  const target = /<([^>]*)>\s*;[^<]*\brel="?next"?/i.exec(link)?.[1];
  if (target === undefined || !URL.canParse(target, `http://registry${path}`)) return undefined;
  const { pathname, search } = new URL(target, `http://registry${path}`);
  return `${pathname}${search}`;
}

function parsePage({ registry }: ListedRepository, bytes: Buffer): object {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    if (typeof value === 'object' && value !== null) return value;
  } catch {
    // Falls through: it is no list either way.
  }
  throw new WherryError('REGISTRY_UNAVAILABLE', `registry '${registry}' sent something that is no list`, {
    hint: 'check that the address is that of a registry',
  });
}

function nameOf({ path }: ListedRepository): string {
  return path.slice('/v2/'.length);
}
