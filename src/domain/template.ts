import type { ReleaseSpec } from './release.js';
import type { Wishes } from './wishes.js';

/** What a compatible API was given, gives back, and nothing here acts on. */
export type Extras = Readonly<Record<string, unknown>>;

/** What a release is made of. */
export interface TemplateContent {
  /** Reference of the image, as it was written. */
  readonly image: string;
  /** Id of the credential that opens the image's registry; null: the one stored for the registry, if any. */
  readonly credential: string | null;
  readonly spec: ReleaseSpec;
}

/** Reusable worker settings; copied into a release, never referenced by it. */
export interface Template extends TemplateContent {
  readonly id: string;
  /** Unique. */
  readonly name: string;
  readonly extras: Extras;
  readonly createdAt: number;
}

/** A template that is to be made, or what it is to be. */
export type NewTemplate = Omit<Template, 'id' | 'createdAt'>;

/** What an endpoint's release was made of last: a save of the same makes no other one. */
export interface SavedContent extends TemplateContent, Wishes {}

/** The template that an endpoint was made of; null for one that was made otherwise. */
export interface Binding {
  readonly templateId: string | null;
  /** The template was made with the endpoint and goes with it. */
  readonly isOwn: boolean;
  readonly saved: SavedContent | null;
  /** Of the endpoint. */
  readonly extras: Extras;
}

/** Of which template an endpoint is. */
export interface Bound {
  readonly templateId: string;
  readonly endpointId: string;
}

/** With what the keys of a template's endpoints begin. */
export const boundPrefixOf = (templateId: string): string => `${templateId}/`;

/** Id of the record by which an endpoint is found from its template: those of a template lie together. */
export const boundKeyOf = ({ templateId, endpointId }: Bound): string => `${boundPrefixOf(templateId)}${endpointId}`;

/** The inverse of {@link boundKeyOf}. */
export function parseBoundKey(key: string): Bound {
  const [templateId = '', endpointId = ''] = key.split('/');
  return { templateId, endpointId };
}
