import { expect, it } from 'vitest';
import { Heights } from './heights';

it('sums and finds like a plain loop', () => {
  const plain = Array.from({ length: 137 }, (_, index) => 20 + ((index * 37) % 90));
  const heights = new Heights(plain);
  const top = (index: number) => plain.slice(0, index).reduce((sum, height) => sum + height, 0);
  for (const [index, height] of [
    [0, 300],
    [136, 5],
    [64, 0],
  ] as const) {
    expect(heights.set(index, height)).toBe(height - (plain[index] as number));
    plain[index] = height;
  }
  for (let index = 0; index <= plain.length; index += 1) expect(heights.top(index)).toBe(top(index));
  for (let y = 0; y < heights.total; y += 7) {
    const found = heights.at(y);
    expect(top(found) <= y && y < top(found + 1), `${y} is not in row ${found}`).toBe(true);
  }
});

it('stays within the list', () => {
  const heights = new Heights([10, 10]);
  expect([heights.at(-5), heights.at(0), heights.at(19), heights.at(500)]).toEqual([0, 0, 1, 1]);
  expect(new Heights([]).at(3)).toBe(0);
  expect(new Heights([]).total).toBe(0);
});

it('is quick with ten thousand rows', () => {
  const heights = new Heights(new Array(10_000).fill(90));
  const started = performance.now();
  for (let round = 0; round < 10_000; round += 1) {
    heights.set(round, 120);
    heights.at(heights.top(round));
  }
  expect(performance.now() - started).toBeLessThan(500);
});
