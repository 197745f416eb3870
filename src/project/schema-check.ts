import { Ajv, type ValidateFunction } from 'ajv';
import { WHERRY_SCHEMA } from './schema.js';

// `scripts/compiled.mjs` puts this very function here as plain code when src is bundled: compiling it takes longer than all else that a
// build does with its project file. The schema is our own, and a test checks that it is one.
const OPTIONS = { allErrors: true, verbose: true, allowUnionTypes: true, meta: false, validateSchema: false } as const;

/** Whether a value is what the schema of `wherry.yaml` describes; `errors` says why not. */
export const matchesSchema: ValidateFunction = new Ajv(OPTIONS).compile(WHERRY_SCHEMA);
