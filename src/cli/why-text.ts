import { formatFailure } from '../api/failure.js';
import type { CrashLoopView, EndpointWhyView, JobWhyView, WaitingView } from '../api/resources.js';
import { formatBytes } from '../base/size.js';
import { type Phase, phasesOf, warmPhases } from '../domain/cold-start.js';
import { formatAge } from '../domain/health.js';
import { describeRollout, formatRelease } from '../domain/release.js';
import { parseDigest, shortDigest } from '../oci/digest.js';
import { formatLine } from './log-line.js';
import { colours, formatAgo } from './output.js';
import { toTerminal } from './terminal-text.js';

/** One screen about a job: why it waits, or how it went. */
export function formatJobWhy(why: JobWhyView, now: number): string {
  const { job, endpointId, waiting, image, worker, lines } = why;
  const attempt = job.attempt > 1 ? `, attempt ${job.attempt}` : '';
  const held = worker && `${worker.id}  ${worker.runtime}, ${worker.state}${worker.reason === null ? '' : `: ${worker.reason}`}`;
  return [
    `job ${job.id}  ${job.status}${attempt}  of ${endpointId}, submitted ${formatAgo(job.submittedAt, now)}`,
    ...(waiting ? formatWaiting(waiting, now) : []),
    ...field('image', image && formatImage(image)),
    ...field('worker', held ?? job.workerId),
    ...formatTimes(why),
    ...field('error', job.error === undefined ? undefined : formatFailure(job.error)),
    ...field('log', lines.length === 0 ? undefined : lines.map(formatLine).join('\n')),
  ].join('\n');
}

/** One screen about an endpoint: how it is, and what holds its queue. */
export function formatEndpointWhy(why: EndpointWhyView, now: number): string {
  const { endpointId, summary, image, waiting, crashLoop, rollout, pausedReason, preparing } = why;
  const moving = rollout && `${describeRollout(rollout)}, begun ${formatAgo(rollout.startedAt, now)}`;
  return [
    `${endpointId}  ${summary}`,
    ...field('image', image && formatImage(image)),
    ...(waiting ? formatWaiting(waiting, now) : []),
    ...field('deploy', preparing),
    ...field('rollout', moving),
    ...field('crashes', crashLoop && formatCrashes(crashLoop, now)),
    // The reason why jobs wait, if they do, says it already.
    ...field('paused', waiting?.reason === 'paused' ? null : pausedReason),
  ].join('\n');
}

/** A name and its text, whose further lines stand below the first. */
function field(name: string, text: string | null | undefined): readonly string[] {
  if (text === null || text === undefined) return [];
  const [first = '', ...rest] = toTerminal(text, { keepsColours: process.stdout.isTTY === true }).split('\n');
  return [`  ${colours.dim(name.padEnd(8))}  ${first}`, ...rest.map((line) => `${' '.repeat(12)}${line}`)];
}

function formatWaiting({ reason, since, evidence, next }: WaitingView, now: number): readonly string[] {
  return [...field('waits', `${reason}, since ${formatAgo(since, now)}`), ...field('because', evidence), ...field('next', next)];
}

function formatImage({ release, reference, digest }: NonNullable<JobWhyView['image']>): string {
  return `${formatRelease(release)}  ${reference}  ${shortDigest(parseDigest(digest))}`;
}

function formatCrashes({ crashes, budget, last }: CrashLoopView, now: number): string {
  const count = `${crashes} in a row, ${budget} pause the endpoint`;
  if (last === null) return count;
  const end = `${last.workerId} of ${formatRelease(last.release)} ${last.reason}, ${formatAgo(last.at, now)}`;
  return [`${count}; the last: ${end}`, ...last.lines.map((line) => `  ${line}`)].join('\n');
}

const BAR_COLUMNS = 30;

/** What a job that was handed out spent its time with, a bar for each phase. */
function formatTimes({ job, timeline }: JobWhyView): readonly string[] {
  const phases = timeline ? phasesOf(timeline) : warmPhases(job);
  const totalMs = phases.at(-1)?.to ?? 0;
  if (phases.length === 0) return [];
  const pulled = timeline?.pull && !timeline.pull.cached ? `, ${formatBytes(timeline.pull.bytes)} pulled` : '';
  const start = timeline ? `a cold start (${timeline.path ?? 'unknown'}${pulled})` : 'a worker was ready';
  return field(
    'took',
    [`${totalMs < 10_000 ? `${totalMs} ms` : formatAge(totalMs)}: ${start}`, ...phases.map((phase) => formatPhase(phase, totalMs))].join(
      '\n',
    ),
  );
}

function formatPhase({ name, from, to }: Phase, totalMs: number): string {
  const column = (ms: number) => Math.round((ms * BAR_COLUMNS) / Math.max(1, totalMs));
  const start = Math.min(column(from), BAR_COLUMNS - 1);
  const bar = `${' '.repeat(start)}${'█'.repeat(Math.max(1, column(to) - start))}`;
  return `${name.padEnd(6)} ${`${to - from} ms`.padStart(10)}  ${bar}`;
}
