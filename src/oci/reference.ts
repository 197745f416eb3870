import { WherryError } from '../base/errors.js';
import { type Digest, parseDigest } from './digest.js';

/** An image reference in parts. A reference to this server's own registry has no `registry`. */
export interface Reference {
  /** `host[:port]`, or undefined for the embedded registry. */
  readonly registry?: string;
  /** OCI distribution-spec name, for instance `acme/echo`. */
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

const COMPONENT = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const REPOSITORY = new RegExp(`^${COMPONENT}(?:/${COMPONENT})*$`);
const HOST = /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::\d+)?$/;
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

/** Whether a text is a repository's name (distribution-spec, "Pulling manifests"). */
export function isRepository(text: string): boolean {
  return text.length <= 255 && REPOSITORY.test(text);
}

/** Whether a text names a registry: `host`, `host:port`, `[address]:port`. */
export function isRegistryHost(text: string): boolean {
  return HOST.test(text) && URL.canParse(`https://${text}`);
}

/** Whether a text is a tag (distribution-spec, "Pulling manifests"). */
export function isTag(text: string): boolean {
  return TAG.test(text);
}

/**
 * Parses `name`, `name:tag`, `name@sha256:…`, `name:tag@sha256:…`, with or without a registry host. The first
 * component is a host when it holds a dot or a colon or is `localhost`. Throws REFERENCE_INVALID, DIGEST_INVALID.
 */
export function parseReference(text: string): Reference {
  const at = text.indexOf('@');
  const digest = at < 0 ? undefined : parseDigest(text.slice(at + 1));
  const named = at < 0 ? text : text.slice(0, at);
  const slash = named.indexOf('/');
  const first = slash < 0 ? '' : named.slice(0, slash);
  const isHost = first === 'localhost' || /[.:]/.test(first);
  const path = isHost ? named.slice(slash + 1) : named;
  const colon = path.lastIndexOf(':');
  const tag = colon < 0 ? undefined : path.slice(colon + 1);
  const repository = colon < 0 ? path : path.slice(0, colon);
  if (isHost && !isRegistryHost(first)) throw refused(text, `'${first}' is not a registry host`);
  if (!isRepository(repository)) throw refused(text, `'${repository}' is not a repository name`);
  if (tag !== undefined && !isTag(tag)) throw refused(text, `'${tag}' is not a tag`);
  return { ...(isHost && { registry: first }), repository, ...(tag !== undefined && { tag }), ...(digest && { digest }) };
}

/** Whether a name means something else with the next push: it has no digest, and no tag or `latest`. */
export function isFloating({ tag, digest }: Reference): boolean {
  return digest === undefined && (tag === undefined || tag === 'latest');
}

/** The text of a reference; inverse of {@link parseReference}. */
export function formatReference(reference: Reference): string {
  const { registry, repository, tag, digest } = reference;
  return `${registry ? `${registry}/` : ''}${repository}${tag ? `:${tag}` : ''}${digest ? `@${digest}` : ''}`;
}

function refused(text: string, why: string): WherryError {
  return new WherryError('REFERENCE_INVALID', `not an image reference: '${text}': ${why}`, {
    hint: 'write name, name:tag, name@sha256:… or name:tag@sha256:…, lower case, with a registry host in front if it is remote',
  });
}
