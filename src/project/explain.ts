import { stringify } from 'yaml';
import { WherryError } from '../base/errors.js';
import type { Field, FieldTarget } from './field.js';
import { FIELDS, findField } from './fields.js';
import { findNearest } from './nearest.js';

/** What `wherry explain FIELD` shows. */
export interface Explanation {
  readonly path: string;
  /** The type, or the allowed values. */
  readonly type: string;
  /** As it would stand in the file; null when there is none. */
  readonly default: unknown;
  readonly goesTo: FieldTarget;
  readonly description: string;
  /** Lines of YAML that can be pasted into the file. */
  readonly example: string;
  /** False for a field that is read but does nothing yet in this version. */
  readonly isInEffect: boolean;
}

/** Explains one field by its dotted path. Throws USAGE with the nearest path for an unknown one. */
export function explainField(path: string): Explanation {
  const field = findField(path);
  if (field === undefined) {
    const nearest = suggestField(path);
    throw new WherryError(
      'USAGE',
      `explain '${path}': not a field of wherry.yaml${nearest === undefined ? '' : `; did you mean '${nearest}'`}`,
      {
        hint: 'wherry explain lists all fields',
      },
    );
  }
  return explanationOf(field);
}

/** All fields in the order of the documentation. */
export function listFields(): readonly Explanation[] {
  return FIELDS.map(explanationOf);
}

/** The field a wrong path most likely meant: one of the same section, else one anywhere whose last part is alike. */
export function suggestField(path: string): string | undefined {
  const paths = FIELDS.map((field) => field.path);
  const dot = path.lastIndexOf('.');
  const leaf = path.slice(dot + 1);
  const siblings = paths.filter((candidate) => candidate.lastIndexOf('.') === dot && candidate.startsWith(path.slice(0, dot + 1)));
  const sibling = findNearest(
    leaf,
    siblings.map((candidate) => candidate.slice(dot + 1)),
  );
  if (sibling !== undefined) return path.slice(0, dot + 1) + sibling;
  const elsewhere = findNearest(
    leaf,
    paths.map((candidate) => candidate.slice(candidate.lastIndexOf('.') + 1)),
  );
  return paths.find((candidate) => candidate.slice(candidate.lastIndexOf('.') + 1) === elsewhere) ?? findNearest(path, paths);
}

function explanationOf(field: Field): Explanation {
  const { path, default: value, goesTo, description } = field;
  return {
    path,
    type: typeOf(field),
    default: value,
    goesTo,
    description,
    example: exampleOf(field),
    isInEffect: isInEffect(field),
  };
}

/** A section that does nothing yet takes its fields with it. */
function isInEffect({ path, isInEffect: own }: Field): boolean {
  const section = path.includes('.') ? findField(path.slice(0, path.lastIndexOf('.'))) : undefined;
  return own !== false && section?.isInEffect !== false;
}

function typeOf({ type, rules }: Field): string {
  const values = rules?.['enum'];
  return Array.isArray(values) ? `one of ${values.join(', ')}` : type;
}

function exampleOf({ path, example }: Field): string {
  return stringify(path.split('.').reduceRight<unknown>((value, key) => ({ [key]: value }), example)).trimEnd();
}
