import { type TSchema, Type } from 'typebox';
import { WAIT_REASONS } from '../domain/waiting.js';
import { START_PATHS, WORKER_STATES } from '../domain/worker.js';
import type { EndpointWhyView, JobWhyView } from './resources.js';
import { Job, LogLine, RolloutProgress, Worker } from './schema.js';

/** The shapes of what explains jobs and endpoints. */
const nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);
const moment = Type.String({ description: 'RFC 3339' });
const count = Type.Integer({ minimum: 0 });
const step = nullable(Type.Number({ description: 'milliseconds after the submission' }));

const Waiting = Type.Object({
  reason: Type.Enum([...WAIT_REASONS]),
  since: moment,
  evidence: Type.String({ description: 'what was seen: counts, exit code, last lines' }),
  next: Type.String({ description: 'what to do, or what happens next' }),
});
const Image = Type.Object({ release: Type.Integer(), reference: Type.String(), digest: Type.String() });
const Timeline = Type.Object({
  acceptedAt: moment,
  path: nullable(Type.Enum([...START_PATHS])),
  decide: step,
  pull: nullable(Type.Object({ at: step, bytes: count, cached: Type.Boolean() })),
  create: step,
  start: step,
  ready: step,
  take: step,
  done: step,
});
export const JobWhy = Type.Unsafe<JobWhyView>(
  Type.Object({
    endpointId: Type.String(),
    job: Job,
    waiting: nullable(Waiting),
    timeline: nullable(Timeline),
    worker: nullable(Worker),
    image: nullable(Image),
    lines: Type.Array(LogLine),
  }),
);
const CrashLoop = Type.Object({
  crashes: count,
  budget: Type.Integer({ description: 'so many pause the endpoint' }),
  nextStartAt: moment,
  last: nullable(
    Type.Object({
      workerId: Type.String(),
      release: Type.Integer(),
      at: moment,
      reason: Type.String(),
      exitCode: nullable(Type.Integer()),
      lines: Type.Array(Type.String()),
    }),
  ),
});
export const EndpointWhy = Type.Unsafe<EndpointWhyView>(
  Type.Object({
    endpointId: Type.String(),
    summary: Type.String({ description: 'its health in one sentence' }),
    pausedReason: nullable(Type.String()),
    image: nullable(Image),
    queue: Type.Object({ waiting: count, running: count, oldestAt: nullable(moment) }),
    workers: Type.Object(Object.fromEntries(WORKER_STATES.map((state) => [state, count]))),
    waiting: nullable(Waiting),
    crashLoop: nullable(CrashLoop),
    rollout: nullable(RolloutProgress),
    preparing: nullable(Type.String({ description: 'how far the image of the next release is, while it is deployed' })),
  }),
);
export const JobPath = Type.Object({ job: Type.String() });
