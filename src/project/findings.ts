import type { ErrorObject } from 'ajv';
import type { Finding, Segments } from './document.js';
import { suggestField } from './explain.js';
import type { Field } from './field.js';
import { findField } from './fields.js';
import { matchesSchema } from './schema-check.js';

/** Everything in which a parsed `wherry.yaml` departs from its schema, in words for its author. */
export function checkSchema(value: unknown): readonly Finding[] {
  if (matchesSchema(value)) return [];
  // A refused name comes twice: once for its pattern, once for the map that holds it.
  return (matchesSchema.errors ?? []).filter((error) => error.propertyName === undefined).map(findingOf);
}

function findingOf(error: ErrorObject): Finding {
  const at = error.instancePath
    .split('/')
    .slice(1)
    .map((part) => (/^\d+$/.test(part) ? Number(part) : part.replaceAll('~1', '/').replaceAll('~0', '~')));
  if (error.keyword === 'additionalProperties') return unknownField([...at, String(error.params['additionalProperty'])]);
  if (error.keyword === 'propertyNames') {
    const name = String(error.params['propertyName']);
    return {
      at: [...at, name],
      isKey: true,
      problem: `'${name}' in '${at.join('.')}' should be letters, digits and _, not beginning with a digit`,
    };
  }
  if (at.length === 0) return { at, problem: `the file should hold fields with values, not ${show(error.data)}` };
  const path = at.join('.');
  const field = findField(at.filter((part) => typeof part === 'string').join('.')) ?? findField(String(at[0]));
  const isInside = field !== undefined && field.path !== path;
  return {
    at,
    problem: `'${path}' should be ${field === undefined ? 'something else' : expected(field, error, isInside)}, not ${show(error.data)}`,
  };
}

function unknownField(at: Segments): Finding {
  const path = at.join('.');
  const nearest = suggestField(path);
  const parent = at.slice(0, -1).join('.');
  const isSibling = nearest !== undefined && nearest.slice(0, Math.max(0, nearest.lastIndexOf('.'))) === parent;
  const shown = isSibling ? nearest.slice(nearest.lastIndexOf('.') + 1) : nearest;
  return { at, isKey: true, problem: `'${path}' is not a known field${shown === undefined ? '' : `; did you mean '${shown}'`}` };
}

/** What would have been right, in words. `isInside` is true when the fault lies in an item of the field. */
function expected({ type, rules, example }: Field, error: ErrorObject, isInside: boolean): string {
  const values = rules?.['enum'];
  if (Array.isArray(values)) return `one of ${values.join(', ')}`;
  if (error.keyword === 'minimum') return `at least ${String(error.params['limit'])}`;
  if (error.keyword === 'exclusiveMinimum') return `more than ${String(error.params['limit'])}`;
  const sample = isInside && Array.isArray(example) ? example[0] : example;
  if (isInside && typeof error.data === 'string' && error.data.includes('\0')) return 'a text without a zero byte';
  if (isInside) return type === 'map of strings' ? 'a text, a number or a boolean' : `a text such as ${show(sample)}`;
  const words: Partial<Record<string, string>> = { string: 'a text', integer: 'a whole number', section: 'a group of fields' };
  return `${words[type] ?? `a ${type}`} such as ${show(sample)}`;
}

function show(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  const isPlain = typeof value === 'string' && ![...value].some((letter) => letter < ' ');
  const text = isPlain ? `'${value}'` : JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
