import { createLineCutter, createLineRate, type LineRate } from '../lines.js';
import type { RuntimeEvents } from '../runtime.js';
import { type Cursor, readFrom } from './cursor.js';
import type { EngineApi } from './engine-api.js';
import { createFrameReader, type Frame, formatMoment } from './frames.js';

type Output = Parameters<RuntimeEvents['output']>[0];
type Line = Output['lines'][number];

export interface LogOptions {
  readonly workerId: string;
  readonly tell: RuntimeEvents['output'];
  /** Where the reading goes on. */
  readonly cursor: () => Cursor;
  /** Called when everything before was told. */
  readonly onTold: (cursor: Cursor) => void;
  readonly now: () => number;
}

export interface LogRead {
  readonly api: EngineApi;
  readonly containerId: string;
  /** True: until the container ends; false: what is there now. */
  readonly isFollowing: boolean;
  /** What the engine's clock lacks to this machine's, in milliseconds. */
  readonly clockOffsetMs: number;
  readonly signal: AbortSignal;
}

/** While lines are dropped, they are told so seldom that the marks do not become a flood themselves. */
const FLOOD_PACE_MS = 250;

/**
 * Tells the output of one container, each line once: reading goes on where telling ended, also for the next server. The returned
 * function ends when the engine's stream does; it rejects when the stream breaks or the lines were not taken.
 */
export function createLogReader({ workerId, tell, cursor, onTold, now }: LogOptions): (read: LogRead) => Promise<void> {
  const rate = createLineRate(0);
  let toldAt = 0;
  return async ({ api, containerId, isFollowing, clockOffsetMs, signal }) => {
    const reading = readFrom(cursor());
    const collected = collectLines({ rate, clockOffsetMs, now });
    const frames = createFrameReader((frame) => {
      if (!reading.isNew({ atNs: frame.atNs, endsLine: endsLine(frame) })) return;
      collected.take(frame);
      // While there is a part of a line, nothing behind its begin is told: a later reader has to begin before it.
      if (!collected.isAmidLine()) commit();
    });
    const commit = (): void => {
      reading.commit();
      collected.commit();
    };
    const flush = async (isLast: boolean): Promise<void> => {
      const { lines, dropped } = collected.ready();
      if (lines.length === 0 && dropped === 0) return;
      if (dropped > 0 && !isLast && now() - toldAt < FLOOD_PACE_MS) return;
      collected.forget();
      await tell({ workerId, lines, dropped });
      toldAt = now();
      onTold(reading.mark());
    };
    const stream = await api.stream({
      method: 'GET',
      path: `/containers/${containerId}/logs`,
      query: {
        stdout: 'true',
        stderr: 'true',
        timestamps: 'true',
        follow: String(isFollowing),
        since: formatMoment(reading.sinceNs),
      },
      ...(isFollowing && { idleMs: 0 }),
      signal,
    });
    // A container that is gone has no log any more.
    if (stream.statusCode !== 200) return void stream.destroy();
    for await (const chunk of stream) {
      frames.push(chunk as Buffer);
      await flush(false);
    }
    // Nothing more comes: the last line may lack its end.
    if (!isFollowing) collected.end();
    if (!collected.isAmidLine()) commit();
    await flush(true);
  };
}

const NEWLINE = 10;

const endsLine = ({ content }: Pick<Frame, 'content'>): boolean => content.at(-1) === NEWLINE;

/** Whole lines of both streams, bounded by their rate. */
function collectLines({ rate, clockOffsetMs, now }: { rate: LineRate; clockOffsetMs: number; now: () => number }) {
  let ready: { lines: Line[]; dropped: number } = { lines: [], dropped: 0 };
  let lines: Line[] = [];
  let dropped = 0;
  let at = 0;
  const amid = { stdout: false, stderr: false };
  const onLine = (text: string): void => {
    if (!rate.hasRoom(at)) {
      dropped += 1;
      return;
    }
    rate.use();
    lines.push({ at, text });
  };
  const cutters = { stdout: createLineCutter(onLine), stderr: createLineCutter(onLine) };
  return {
    take({ stream, atNs, content }: Frame): void {
      const stampedAt = Number(atNs / 1_000_000n) + clockOffsetMs;
      // Podman tells whole seconds only; a line that is read as it comes was printed a moment ago.
      at = atNs % 1_000_000_000n === 0n ? Math.min(Math.max(stampedAt, now()), stampedAt + 999) : stampedAt;
      cutters[stream].push(content);
      amid[stream] = !endsLine({ content });
    },
    isAmidLine: () => amid.stdout || amid.stderr,
    end(): void {
      for (const stream of ['stdout', 'stderr'] as const) {
        cutters[stream].flush();
        amid[stream] = false;
      }
    },
    /** What was taken may be told. */
    commit(): void {
      for (const line of lines) ready.lines.push(line);
      ready.dropped += dropped;
      lines = [];
      dropped = 0;
    },
    ready: () => ready,
    /** What may be told is being told. */
    forget(): void {
      ready = { lines: [], dropped: 0 };
    },
  };
}
