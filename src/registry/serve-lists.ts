import { WherryError } from '../base/errors.js';
import { MEDIA_TYPES } from '../oci/descriptor.js';
import { parseDigest } from '../oci/digest.js';
import { type Exchange, refuseMethod, sendJson } from './exchange.js';

/** Answers `/v2/NAME/tags/list` (distribution-spec, "Listing Tags"). */
export async function serveTags(exchange: Exchange, repository: string): Promise<void> {
  checkRead(exchange);
  const tags = (await exchange.mirrors.listTags(repository))?.toSorted() ?? (await exchange.blobs.listTags(repository));
  if (!tags) throw new WherryError('NAME_UNKNOWN', `repository '${repository}' is not known`, { detail: { name: repository } });
  const { page, headers } = pageOf(exchange, tags, `/v2/${repository}/tags/list`);
  sendJson(exchange, { name: repository, tags: page }, headers);
}

/** Answers `/v2/_catalog`: every repository that may be named. */
export async function serveCatalog(exchange: Exchange): Promise<void> {
  checkRead(exchange);
  const names = (await exchange.blobs.listRepositories()).filter(exchange.isRepositoryAllowed);
  const { page, headers } = pageOf(exchange, names, '/v2/_catalog');
  sendJson(exchange, { repositories: page }, headers);
}

/** Answers `/v2/NAME/referrers/DIGEST` (distribution-spec, "Listing Referrers"): an index, empty when nothing refers. */
export async function serveReferrers(exchange: Exchange, repository: string, reference: string): Promise<void> {
  checkRead(exchange);
  const digest = parseDigest(reference);
  const referrers = (await exchange.mirrors.listReferrers(repository, digest)) ?? (await exchange.blobs.listReferrers(repository, digest));
  const artifactType = exchange.query.get('artifactType');
  const manifests = artifactType === null ? referrers : referrers.filter((referrer) => referrer.artifactType === artifactType);
  const filtered: Record<string, string> = artifactType === null ? {} : { 'oci-filters-applied': 'artifactType' };
  const index = { schemaVersion: 2, mediaType: MEDIA_TYPES.index, manifests };
  sendJson(exchange, index, { 'content-type': MEDIA_TYPES.index, ...filtered });
}

function checkRead(exchange: Exchange): void {
  if (exchange.method !== 'GET' && exchange.method !== 'HEAD') throw refuseMethod(exchange);
}

/** The entries after `last`, at most `n`, with a Link (RFC 8288) to the next page when there is one. */
function pageOf({ query }: Exchange, names: readonly string[], path: string) {
  const last = query.get('last');
  const wanted = query.get('n');
  if (wanted !== null && !/^\d{1,9}$/.test(wanted)) {
    throw new WherryError('REQUEST_INVALID', `not a page size: '${wanted}'`, { hint: 'give n as a whole number' });
  }
  const rest = last === null ? names : names.filter((name) => name > last);
  const size = wanted === null ? rest.length : Number(wanted);
  const page = rest.slice(0, size);
  const end = page.at(-1);
  const headers: Record<string, string> = {};
  if (end !== undefined && page.length < rest.length) headers['link'] = `<${path}?n=${size}&last=${encodeURIComponent(end)}>; rel="next"`;
  return { page, headers };
}
