import { describe, expect, it } from 'vitest';
import { createOutbox, createWorkerOutput } from './output.js';
import { BOUNDS, type SupervisorEvent } from './protocol.js';

function setup() {
  let now = 0;
  const sent: SupervisorEvent[] = [];
  const outbox = createOutbox((event) => sent.push(event));
  const output = createWorkerOutput({ workerId: 'w-1', outbox, now: () => now });
  const texts = () => sent.flatMap((event) => (event.event === 'output' ? event.lines.map(({ text }) => text) : []));
  const droppedCount = () => sent.reduce((sum, event) => sum + (event.event === 'output' ? event.dropped : 0), 0);
  const acknowledge = (seq: number): void => {
    outbox.ack(seq);
    output.acked(seq);
  };
  return { sent, outbox, output, texts, droppedCount, acknowledge, pass: (ms: number) => (now += ms) };
}

describe('createWorkerOutput', () => {
  it('holds lines back while an event is under way and sends them together afterwards', () => {
    const { output, sent, acknowledge } = setup();
    for (const text of ['a', 'b', 'c']) {
      output.take(text);
      output.flush();
    }
    expect(sent).toHaveLength(1);
    acknowledge(1);
    expect(sent[1]).toMatchObject({ seq: 2, lines: [{ text: 'b' }, { text: 'c' }], dropped: 0 });
  });

  it('counts what goes beyond the burst and takes lines again when time has passed', () => {
    const { output, texts, droppedCount, acknowledge, pass } = setup();
    for (let n = 0; n < BOUNDS.burstLines + 5; n += 1) output.take('x');
    output.flush();
    acknowledge(1);
    pass(1_000);
    for (let n = 0; n < BOUNDS.linesPerSecond + 3; n += 1) output.take('y');
    output.finish();
    expect(texts()).toHaveLength(BOUNDS.burstLines + BOUNDS.linesPerSecond);
    expect(droppedCount()).toBe(8);
  });

  it('keeps at most the bound while nobody acknowledges', () => {
    const { output, texts, droppedCount } = setup();
    const line = 'z'.repeat(10_000);
    for (let n = 0; n < 500; n += 1) {
      output.take(line);
      output.flush();
    }
    output.finish();
    expect(texts().join('').length).toBeLessThanOrEqual(BOUNDS.unackedBytes);
    expect(texts().length + droppedCount()).toBe(500);
  });
});

describe('createOutbox', () => {
  it('keeps events in order until each is acknowledged', () => {
    const { outbox } = setup();
    for (const workerId of ['a', 'b', 'c']) outbox.add({ event: 'exit', workerId, exitCode: 0, signal: null });
    expect(outbox.ack(2)).toMatchObject({ workerId: 'b' });
    expect(outbox.list().map(({ workerId }) => workerId)).toEqual(['a', 'c']);
    expect(outbox.ack(2)).toBeUndefined();
  });
});
