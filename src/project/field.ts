const FIELD_TYPES = [
  'string',
  'integer',
  'number',
  'boolean',
  'duration',
  'size',
  'list of strings',
  'map of strings',
  'count or list of kinds',
  'version or list of versions',
  'list or path',
  'section',
] as const;
export type FieldType = (typeof FIELD_TYPES)[number];

/** Which of the product's records a field ends in; a release field makes a new release, an endpoint field changes in place. */
export type FieldTarget = 'image' | 'release' | 'endpoint' | 'tests';

/** One field of `wherry.yaml`. */
export interface Field {
  /** Dotted, for instance `scale.idle`. */
  readonly path: string;
  readonly type: FieldType;
  /** As it would stand in the file; null when there is none. */
  readonly default: unknown;
  readonly goesTo: FieldTarget;
  readonly description: string;
  readonly example: unknown;
  /** JSON Schema keywords beyond those of the type. */
  readonly rules?: Readonly<Record<string, unknown>>;
  /** False for a field that is read but does nothing yet in this version; for a section it holds for all its fields. */
  readonly isInEffect?: false;
  /** Workers that are processes do without it. */
  readonly needsContainer?: true;
}
