import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addRoom,
  decideAdmissions,
  decideDisplaced,
  explainThrottle,
  findBlocked,
  type HostSample,
  listLacking,
  NO_ROOM,
  needOf,
  type Room,
  sortByTurn,
  subtractRoom,
  UNDECLARED_MEMORY_BYTES,
  type WantedWorker,
} from './capacity.js';

const GIB = 2 ** 30;
const room = (cpu: number, gib: number, gpu = 0): Room => ({ cpu, memoryBytes: gib * GIB, gpu });
const host = (free: Room, more: Partial<HostSample> = {}): HostSample => ({
  total: room(4, 8, 1),
  free,
  starting: new Map(),
  startedAt: new Map(),
  startLimit: 100,
  ...more,
});
const wanted = (id: string, need: Room, since = 0, endpointId = `of-${id}`): WantedWorker => ({ id, endpointId, since, need });

describe('what a worker takes', () => {
  it('is what its release declares; without any, no cores and a little memory', () => {
    expect(needOf({ cpu: 2, memoryBytes: GIB, gpu: 2 }, true)).toEqual(room(2, 1, 2));
    expect(needOf({}, true)).toEqual({ cpu: 0, memoryBytes: UNDECLARED_MEMORY_BYTES, gpu: 0 });
  });

  it('has GPUs only where the runtime hands them out; kinds of them are one', () => {
    expect(needOf({ gpu: 'A,B' }, true).gpu).toBe(1);
    expect(needOf({ gpu: 2 }, false).gpu).toBe(0);
  });
});

describe('admission', () => {
  it('starts who fits, the longest wanted first', () => {
    const both = [wanted('late', room(3, 1), 2), wanted('early', room(3, 1), 1)];
    expect(decideAdmissions(host(room(4, 8)), both)).toEqual(['early']);
  });

  it('keeps what is free for a large one that is wanted longer', () => {
    const large = wanted('large', room(0, 6), 1);
    const small = wanted('small', room(0, 1), 2);
    expect(decideAdmissions(host(room(4, 2)), [large, small])).toEqual([]);
    expect(decideAdmissions(host(room(4, 7)), [large, small])).toEqual(['large', 'small']);
  });

  it('lets others pass one that has no place on this node, and keeps nothing for it (rows 89, 91)', () => {
    const misfit = { ...wanted('misfit', room(0, 6), 1), misfit: 'it needs a moon' };
    const free = host(room(4, 2));
    expect(decideAdmissions(free, [misfit, wanted('small', room(0, 1), 2)])).toEqual(['small']);
    expect(findBlocked(free, [misfit])).toBeUndefined();
    expect(explainThrottle(misfit, free)).toBe('it needs a moon');
  });

  it('lets others pass one that the host can never hold', () => {
    expect(decideAdmissions(host(room(4, 8)), [wanted('never', room(0, 9), 1), wanted('small', room(0, 1), 2)])).toEqual(['small']);
  });

  it('lets pass who takes nothing of what the first one waits for', () => {
    const gpu = wanted('gpu', { cpu: 0, memoryBytes: GIB, gpu: 1 }, 1);
    expect(decideAdmissions(host(room(4, 4, 0)), [gpu, wanted('plain', room(0, 1), 2)])).toEqual(['plain']);
  });

  it('gives starts in turns, however many one endpoint wants', () => {
    const many = Array.from({ length: 50 }, (_, n) => wanted(`a${n}`, room(0, 0.01), 1, 'a'));
    const all = [...many, wanted('b0', room(0, 0.01), 2, 'b')];
    expect(decideAdmissions(host(room(4, 8), { startLimit: 2 }), all)).toEqual(['a0', 'b0']);
    expect(decideAdmissions(host(room(4, 8), { startLimit: 2, starting: new Map([['a', 1]]) }), all)).toEqual(['b0']);
    expect(decideAdmissions(host(room(4, 8), { startLimit: 1, startedAt: new Map([['a', 3]]) }), all)).toEqual(['b0']);
  });

  const needs = fc.record({
    cpu: fc.integer({ min: 0, max: 4 }),
    memoryBytes: fc.integer({ min: 1, max: 8 }).map((gib) => gib * GIB),
    gpu: fc.nat({ max: 1 }),
  });
  const waiting = fc
    .array(fc.record({ need: needs, since: fc.nat({ max: 9 }), endpoint: fc.nat({ max: 3 }) }), { maxLength: 20 })
    .map((list) => list.map(({ need, since, endpoint }, n) => wanted(`w${n}`, need, since, `e${endpoint}`)));

  it('never gives more room or starts than there are', () => {
    fc.assert(
      fc.property(waiting, needs, fc.nat({ max: 8 }), (list, free, startLimit) => {
        const admitted = decideAdmissions(host(free, { startLimit }), list);
        expect(admitted.length).toBeLessThanOrEqual(startLimit);
        const taken = list.filter(({ id }) => admitted.includes(id)).reduce((sum, { need }) => addRoom(sum, need), NO_ROOM);
        expect(listLacking(taken, free)).toEqual([]);
      }),
    );
  });

  it('starts everybody, one after the other, while younger and smaller ones keep coming: nobody starves', () => {
    fc.assert(
      fc.property(waiting, (list) => {
        const total = room(4, 8, 1);
        let open = [...list];
        let running: readonly WantedWorker[] = [];
        let sum = NO_ROOM;
        for (let round = 0; round < 10 * list.length && open.some(({ id }) => id.startsWith('w')); round++) {
          // The oldest that runs ends; a small one of an endpoint of its own is wanted in its place.
          const [ended, ...others] = running;
          running = others;
          if (ended) sum = subtractRoom(sum, ended.need);
          open.push(wanted(`young${round}`, room(0, 1), 100 + round));
          const admitted = decideAdmissions(
            { total, free: subtractRoom(total, sum), starting: new Map(), startedAt: new Map(), startLimit: 100 },
            open,
          );
          const started = open.filter(({ id }) => admitted.includes(id));
          running = [...running, ...started];
          sum = started.reduce((all, { need }) => addRoom(all, need), sum);
          open = open.filter(({ id }) => !admitted.includes(id));
        }
        expect(open.filter(({ id }) => id.startsWith('w'))).toEqual([]);
      }),
    );
  });

  it('has the same order for everybody who asks', () => {
    const list = [wanted('b', NO_ROOM, 1), wanted('a', NO_ROOM, 1), wanted('c', NO_ROOM, 0)];
    expect(sortByTurn(list, host(NO_ROOM)).map(({ id }) => id)).toEqual(['c', 'a', 'b']);
    expect(sortByTurn(list.toReversed(), host(NO_ROOM)).map(({ id }) => id)).toEqual(['c', 'a', 'b']);
  });
});

describe('giving way', () => {
  const holder = (id: string, need: Room, since: number, isFrozen = false) => ({ id, endpointId: `of-${id}`, need, since, isFrozen });
  const spare = new Map(['a', 'b', 'c'].map((id) => [`of-${id}`, 1]));

  it('names the first that has no room, and lets those without work for longest go, frozen ones first', () => {
    const large = wanted('large', room(0, 4));
    expect(findBlocked(host(room(4, 2)), [large])).toBe(large);
    expect(findBlocked(host(room(4, 4)), [large])).toBeUndefined();
    const idle = [holder('a', room(0, 1), 1), holder('b', room(0, 1), 9, true), holder('c', room(0, 1), 2)];
    expect(decideDisplaced(room(0, 4), room(0, 2), { idle, spare })).toEqual(['b', 'a']);
  });

  it('takes nobody who does not help, whose endpoint needs it, or when all would not be enough', () => {
    const idle = [holder('a', room(0, 1), 1), holder('b', room(2, 1, 1), 2)];
    expect(decideDisplaced(room(0, 1, 1), room(4, 4), { idle, spare })).toEqual(['b']);
    expect(decideDisplaced(room(0, 1, 1), room(4, 4), { idle, spare: new Map() })).toEqual([]);
    expect(decideDisplaced(room(0, 8), room(4, 4), { idle, spare })).toEqual([]);
  });

  it('spares a small one when a larger one is enough', () => {
    const idle = [holder('a', room(0, 1), 1), holder('b', room(0, 3), 2)];
    expect(decideDisplaced(room(0, 3), NO_ROOM, { idle, spare })).toEqual(['b']);
  });
});

describe('the reason of a throttled worker', () => {
  it.each([
    [wanted('w', room(0, 2)), host(room(1, 1.2)), 'it needs 2.0 GiB of memory, 1.2 GiB is free'],
    [wanted('w', room(2, 0.5)), host(room(0.5, 8)), 'it needs 2 CPUs, 0.5 is free'],
    [wanted('w', room(0, 1, 2)), host(room(4, 8, 1)), 'it needs 2 GPUs, this host has 1 (WHERRY_CAPACITY_GPU)'],
    [
      wanted('w', room(0, 1)),
      host(room(4, 8), { starting: new Map([['x', 4]]), startLimit: 4 }),
      '4 workers are starting, at most 4 start at once (WHERRY_STARTS)',
    ],
    [wanted('w', room(0, 1)), host(room(4, 8)), 'what is free is kept for workers that are wanted longer'],
  ])('says what it needs and what there is', (worker, sample, text) => {
    expect(explainThrottle(worker, sample)).toBe(text);
  });
});
