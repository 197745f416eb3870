import { Type } from 'typebox';
import { ARGUMENT_PATTERN } from '../domain/release.js';
import { SECRET_NAME_PATTERN } from '../domain/secret.js';
import type { SecretView } from './resources.js';

/** The shapes of stored secrets. Values come in and never go out. */
const moment = Type.String({ description: 'RFC 3339' });

export const Secret = Type.Unsafe<SecretView>(
  Type.Object({
    name: Type.String(),
    createdAt: moment,
    updatedAt: Type.String({ description: 'RFC 3339: when it got the value that it has' }),
    usedBy: Type.Array(Type.String(), { description: 'releases in use that refer to it, as staging@r17' }),
  }),
);
export const SecretValue = Type.Object(
  { value: Type.String({ minLength: 1, maxLength: 65_536, pattern: ARGUMENT_PATTERN, writeOnly: true }) },
  { additionalProperties: false },
);
export const SecretPath = Type.Object({
  name: Type.String({
    pattern: SECRET_NAME_PATTERN,
    description: 'letters, digits and _ . - /, not beginning with a digit; percent-encoded',
  }),
});
export const SecretRemoval = Type.Object({
  force: Type.Optional(Type.Boolean({ description: 'also while a release in use refers to it' })),
});
