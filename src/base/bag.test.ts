import { expect, it } from 'vitest';
import { Bag } from './bag.js';

it('holds what was added and not removed, whichever goes first', () => {
  const bag = new Bag<{ name: string; place: number }>();
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((name) => ({ name, place: -1 }));
  const names = () =>
    bag
      .list()
      .map(({ name }) => name)
      .sort();
  for (const member of [a, b, c]) if (member) bag.add(member);
  expect(names()).toEqual(['a', 'b', 'c']);
  if (a) bag.remove(a);
  expect(names()).toEqual(['b', 'c']);
  if (d) bag.add(d);
  if (c) bag.remove(c);
  expect(names()).toEqual(['b', 'd']);
  if (d) bag.remove(d);
  if (b) bag.remove(b);
  expect(names()).toEqual([]);
});
