import { describe, expect, it } from 'vitest';
import { createRates } from './rates.js';

const ASK = { endpointId: 'e', keyId: 'k', verb: 'purge-queue', factor: 1, runningWorkers: 0 };

function setup() {
  let now = 1_000_000;
  return {
    rates: createRates({ now: () => now }),
    pass: (ms: number) => {
      now += ms;
    },
  };
}

describe('rates', () => {
  it('refuse what is above the figure in ten seconds, and admit again when they have passed', () => {
    const { rates, pass } = setup();
    rates.admit(ASK)();
    pass(5_000);
    rates.admit(ASK)();
    expect(() => rates.admit(ASK)).toThrow('2 in 10 s');
    pass(5_000);
    rates.admit(ASK)();
    expect(() => rates.admit(ASK)).toThrow();
  });

  it('refuse what is above the figure at once, until one ends', () => {
    const { rates } = setup();
    const ask = { ...ASK, verb: 'requests' };
    const end = rates.admit(ask);
    rates.admit(ask);
    expect(() => rates.admit(ask)).toThrow('2 at once');
    end();
    rates.admit(ask);
  });

  it('count each key and endpoint by itself, and kinds of reading together', () => {
    const { rates } = setup();
    for (let n = 0; n < 2; n++) rates.admit(ASK)();
    for (const other of [{ keyId: 'other' }, { endpointId: 'other' }]) expect(() => rates.admit({ ...ASK, ...other })).not.toThrow();
    for (let n = 0; n < 1_000; n++) for (const verb of ['status', 'stream']) rates.admit({ ...ASK, verb })();
    expect(() => rates.admit({ ...ASK, verb: 'runsync' })).toThrow('2000 in 10 s');
  });

  it('grow with the factor and with running workers, and are off at 0', () => {
    const { rates } = setup();
    for (let n = 0; n < 4; n++) rates.admit({ ...ASK, factor: 2 })();
    expect(() => rates.admit({ ...ASK, factor: 2 })).toThrow('4 in 10 s');
    expect(() => rates.admit({ ...ASK, runningWorkers: 1 })).not.toThrow();
    for (let n = 0; n < 100; n++) rates.admit({ ...ASK, factor: 0 })();
  });
});
