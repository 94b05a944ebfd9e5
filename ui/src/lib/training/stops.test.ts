import { describe, expect, it } from 'vitest';
import { nearest, stopAfter, stopsOf } from './stops';

const line = [10, 20, 30, 40, 50].map((x) => ({ x, y: x / 10 }));
// Tried before the first step and after the third; kept at 30 and, after the line ended, at 60.
const held = [
  { x: 0, y: 9 },
  { x: 30, y: 2 },
];
const stops = stopsOf(line, line, held, [30, 60]);

describe('the stops of a curve', () => {
  it('are merged by their step', () => {
    expect(stops.map((s) => s.x)).toEqual([0, 10, 20, 30, 40, 50, 60]);
    expect(stops[3]).toEqual({ x: 30, train: { x: 30, y: 3, smooth: 3 }, held: held[1], isCheckpoint: true });
    expect(stops[0]).toEqual({ x: 0, train: null, held: held[0], isCheckpoint: false });
    expect(stopsOf([], [], [], [])).toEqual([]);
  });

  it('let a pointer read a dot that it is near, and the line elsewhere', () => {
    expect(nearest(stops, 26, 5)?.x).toBe(30);
    expect(nearest(stops, 22, 5)?.x).toBe(20);
    expect(nearest(stops, 1000, 5)?.x).toBe(60);
    expect(nearest([], 3, 5)).toBeNull();
  });

  it('are walked by left and right, and from mark to mark by up and down', () => {
    expect(stopAfter('ArrowLeft', 3, stops)).toBe(2);
    expect(stopAfter('ArrowDown', -1, stops)).toBe(6);
    expect(stopAfter('ArrowDown', 6, stops)).toBe(3);
    expect(stopAfter('ArrowDown', 3, stops)).toBe(0);
    expect(stopAfter('ArrowDown', 0, stops)).toBe(0);
    expect(stopAfter('ArrowUp', 1, stops)).toBe(3);
    expect(stopAfter('ArrowUp', 6, stops)).toBe(6);
  });

  it('leave up and down to the page where there are no marks', () => {
    const bare = stopsOf(line, line, [], []);
    expect(stopAfter('ArrowUp', 2, bare)).toBeNull();
    expect(stopAfter('End', 2, bare)).toBe(4);
  });
});
