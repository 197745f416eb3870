import { Ajv, type ErrorObject } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';

/** Says what is wrong with a value; empty when nothing is. */
export type SchemaCheck = (value: unknown) => readonly string[];

/**
 * A JSON Schema as a check: draft 2020-12 when its `$schema` says so, else draft 7. A keyword that the draft does not have is a mistake, since
 * nothing would be checked by it; formats are annotations, as draft 2019-09 has them. Throws what is wrong with the schema.
 */
export function compileSchema(schema: object): SchemaCheck {
  const { $schema } = schema as { readonly $schema?: unknown };
  const options = { allErrors: true, strictSchema: true, strictTypes: false, strictTuples: false, validateFormats: false } as const;
  const isRight = (typeof $schema === 'string' && $schema.includes('2020-12') ? new Ajv2020(options) : new Ajv(options)).compile(schema);
  return (value) => (isRight(value) ? [] : (isRight.errors ?? []).map(formatError));
}

function formatError({ instancePath, message }: ErrorObject): string {
  return `${instancePath === '' ? '' : `at '${instancePath}' `}${message ?? 'it is wrong'}`;
}
