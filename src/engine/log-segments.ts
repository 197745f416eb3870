import { appendFile, mkdir, open, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCodeOf } from '../base/errors.js';
import type { LogLine } from './log-line.js';

/** Append-only segment files of one worker: `<dir>/<n>.log`, one JSON line an entry (decision 26). */
export interface Segments {
  append(lines: readonly StoredLine[]): Promise<readonly LogLine[]>;
}

/** A line before it has a place. `order` grows over all workers of a server and over its restarts. */
export interface StoredLine {
  readonly order: number;
  readonly at: number;
  readonly source: LogLine['source'];
  readonly jobId: string | null;
  readonly text: string;
}

export type OrderedLine = LogLine & { readonly order: number };

const SEGMENT_BYTES = 1024 * 1024;
/** Older segments of a worker are removed beyond this, so that a chatty worker cannot fill the disk. */
const SEGMENTS_KEPT = 16;

/** Opens the writer of one worker's segments; continues after the newest that exists. After a failed append open it anew. */
export async function openSegments(dir: string, workerId: string): Promise<Segments> {
  await mkdir(dir, { recursive: true });
  const numbers = await listSegments(dir);
  let segment = numbers.at(-1) ?? 1;
  let offset = numbers.length > 0 ? await endLine(fileOf(dir, segment)) : 0;
  return {
    append: async (lines) => {
      if (offset >= SEGMENT_BYTES) {
        segment++;
        offset = 0;
        await rm(fileOf(dir, segment - SEGMENTS_KEPT), { force: true });
      }
      const placed: LogLine[] = [];
      const texts: string[] = [];
      let end = offset;
      for (const line of lines) {
        const text = `${JSON.stringify(line)}\n`;
        placed.push(toLogLine(line, workerId, `${segment}:${end}`));
        end += Buffer.byteLength(text);
        texts.push(text);
      }
      await appendFile(fileOf(dir, segment), texts.join(''));
      offset = end;
      return placed;
    },
  };
}

/** Ends a line that a crash or a full disk cut off, so that the next one is not part of it. Gives the size. */
async function endLine(file: string): Promise<number> {
  const handle = await open(file, 'a+');
  try {
    const { size } = await handle.stat();
    if (size === 0) return 0;
    const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, size - 1);
    if (buffer[0] === 10) return size;
    await handle.appendFile('\n');
    return size + 1;
  } finally {
    await handle.close();
  }
}

/** When the worker's newest segment was written last; 0 when there is none. */
export async function lastWrittenAt(dir: string): Promise<number> {
  const newest = (await listSegments(dir)).at(-1);
  return newest === undefined ? 0 : (await stat(fileOf(dir, newest))).mtimeMs;
}

export interface SegmentRead {
  readonly limit: number;
  readonly isWanted: (line: OrderedLine) => boolean;
  /** Bytes that may still be read; less with each segment. */
  readonly budget?: { bytes: number };
}

/** The last `limit` lines of a worker that `isWanted` accepts, oldest first. Reads newest segments first and stops early. */
export async function readSegments(
  dir: string,
  workerId: string,
  { limit, isWanted, budget = { bytes: Number.POSITIVE_INFINITY } }: SegmentRead,
): Promise<readonly OrderedLine[]> {
  const found: OrderedLine[][] = [];
  let count = 0;
  for (const segment of (await listSegments(dir)).reverse()) {
    if (budget.bytes <= 0) break;
    const bytes = await readSegment(dir, segment);
    budget.bytes -= bytes.length;
    const wanted = parseSegment(bytes, workerId, segment).filter(isWanted);
    found.push(wanted);
    count += wanted.length;
    if (count >= limit) break;
  }
  return found.reverse().flat().slice(-limit);
}

function readSegment(dir: string, segment: number): Promise<Buffer> {
  return readFile(fileOf(dir, segment)).catch((thrown: unknown) => {
    if (systemCodeOf(thrown) === 'ENOENT') return Buffer.alloc(0);
    throw thrown;
  });
}

function parseSegment(bytes: Buffer, workerId: string, segment: number): OrderedLine[] {
  const lines: OrderedLine[] = [];
  for (let start = 0, end = bytes.indexOf(10); end >= 0; start = end + 1, end = bytes.indexOf(10, start)) {
    const line = parseLine(bytes.toString('utf8', start, end));
    if (line) lines.push({ ...toLogLine(line, workerId, `${segment}:${start}`), order: line.order });
  }
  return lines;
}

/** A torn last line, after a crash in mid-write, is skipped. */
function parseLine(text: string): StoredLine | undefined {
  try {
    return JSON.parse(text) as StoredLine;
  } catch {
    return undefined;
  }
}

function toLogLine({ at, source, jobId, text }: StoredLine, workerId: string, id: string): LogLine {
  return { id: `${workerId}/${id}`, at, source, workerId, jobId, text };
}

async function listSegments(dir: string): Promise<number[]> {
  try {
    return (await readdir(dir)).flatMap((name) => (/^\d+\.log$/.test(name) ? [Number.parseInt(name, 10)] : [])).sort((a, b) => a - b);
  } catch (thrown) {
    if (systemCodeOf(thrown) === 'ENOENT') return [];
    throw thrown;
  }
}

function fileOf(dir: string, segment: number): string {
  return join(dir, `${segment}.log`);
}
