import { Type } from 'typebox';
import { SCALE_RULES } from '../domain/scale.js';
import { SCALE_ACTIONS } from '../domain/scale-record.js';
import type { DecisionView } from './scaling.js';
import { Settings } from './schema.js';

const moment = Type.String({ description: 'RFC 3339' });
const count = Type.Integer({ minimum: 0 });
const ids = Type.Array(Type.String());

export const Decision = Type.Unsafe<DecisionView>(
  Type.Object({
    at: moment,
    release: Type.Integer(),
    wanted: count,
    needed: Type.Integer({ minimum: 0, description: 'of these, for the queue and for min; the others are held ready' }),
    rule: Type.Enum([...SCALE_RULES]),
    reason: Type.String(),
    hold: Type.Union([Type.String({ description: 'why nobody was started although more were wanted' }), Type.Null()]),
    sample: Type.Object({
      queued: Type.Integer({ minimum: 0, description: 'without those of low priority' }),
      oldestWaitMs: Type.Union([count, Type.Null()]),
      inProgress: count,
      starting: count,
      ready: Type.Integer({ minimum: 0, description: 'idle, busy and frozen workers' }),
      busy: count,
      frozen: count,
      stopping: count,
      throttled: Type.Integer({ minimum: 0, description: 'wanted from before, without room' }),
    }),
    policy: Settings.properties.scale,
    actions: Type.Object(Object.fromEntries(SCALE_ACTIONS.map((action) => [action, ids])), { description: 'ids of workers' }),
  }),
);
export const DecisionQuery = Type.Object({
  since: Type.Optional(moment),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
});
