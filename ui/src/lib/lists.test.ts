import { expect, it, vi } from 'vitest';
import { takeOut } from './lists';

it('puts back what was taken out, also into a list that has changed', async () => {
  let list = ['a', 'b', 'c'];
  const touch = vi.fn();
  const back = takeOut(() => list, 1, touch);
  expect(list).toEqual(['a', 'c']);
  list = ['a', 'c', 'd'];
  await back();
  expect(list).toEqual(['a', 'b', 'c', 'd']);
  expect(touch).toHaveBeenCalledTimes(2);

  const last = takeOut(() => list, 3, touch);
  list = [];
  await last();
  expect(list).toEqual(['d']);
});
