import { Type } from 'typebox';
import { MODEL_PATTERN } from '../domain/model.js';
import { CUDA_PATTERN } from '../domain/placement.js';
import { ARGUMENT_PATTERN } from '../domain/release.js';
import { VARIABLE_PATTERN } from '../domain/secret.js';
import { VOLUME_PATTERN } from '../domain/volume.js';

const strict = { additionalProperties: false } as const;
const Argument = Type.String({ pattern: ARGUMENT_PATTERN });
/** The fields of a release's spec, as `ReleaseSpec` has them. */
export const SPEC = {
  env: Type.Record(Type.String({ pattern: VARIABLE_PATTERN }), Argument, { maxProperties: 50 }),
  secrets: Type.Optional(
    Type.Array(Type.String({ pattern: VARIABLE_PATTERN }), {
      maxItems: 50,
      description: 'names of stored secrets that become variables of the same name',
    }),
  ),
  args: Type.Union([Type.Array(Argument), Type.Null()]),
  ports: Type.Array(Type.String()),
  resources: Type.Object(
    {
      cpu: Type.Optional(Type.Number({ exclusiveMinimum: 0, description: 'cores' })),
      memoryBytes: Type.Optional(Type.Integer({ minimum: 1 })),
      diskBytes: Type.Optional(Type.Integer({ minimum: 1 })),
      gpu: Type.Optional(Type.Union([Type.Number(), Type.String()])),
    },
    strict,
  ),
  volumes: Type.Array(Type.String({ pattern: VOLUME_PATTERN, description: 'NAME:/PATH' })),
  models: Type.Optional(
    Type.Array(Type.String({ pattern: MODEL_PATTERN, description: 'ORGANISATION/NAME[@REVISION], as shown with the commit behind it' })),
  ),
  placement: Type.Optional(
    Type.Object(
      {
        cuda: Type.Optional(
          Type.Union([Type.String({ pattern: CUDA_PATTERN }), Type.Array(Type.String({ pattern: CUDA_PATTERN }), { minItems: 1 })], {
            description: 'the least version, or a list of those that will do',
          }),
        ),
        labels: Type.Optional(Type.Record(Type.String(), Type.String(), { description: 'that the node must have' })),
      },
      strict,
    ),
  ),
  isHardened: Type.Optional(Type.Boolean({ description: 'no capabilities and a read-only root' })),
  initTimeoutMs: Type.Integer({ minimum: 0, maximum: 2_592_000_000, description: 'longest time from start to ready, in milliseconds' }),
};
