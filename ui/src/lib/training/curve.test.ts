import { describe, expect, it } from 'vitest';
import { placeAfter, smooth, ticks } from './curve';

describe('smooth', () => {
  it('leaves a constant as it is, from the first point on', () => {
    const flat = [1, 2, 3].map((x) => ({ x, y: 4 }));
    for (const point of smooth(flat, 0.9)) expect(point.y).toBeCloseTo(4, 12);
  });

  it('weighs the past', () => {
    const [first, second] = smooth(
      [
        { x: 1, y: 0 },
        { x: 2, y: 1 },
      ],
      0.5,
    );
    expect(first?.y).toBe(0);
    expect(second?.y).toBeCloseTo(2 / 3, 12); // (0.25 · 0 + 0.5 · 1) / 0.75
  });
});

describe('ticks', () => {
  it('chooses round values that cover the range', () => {
    expect(ticks(0, 6, 4)).toEqual([0, 2, 4, 6]);
    expect(ticks(0, 0.53, 4)).toEqual([0, 0.2, 0.4]);
  });

  it('survives an empty range', () => {
    expect(ticks(3, 3, 4)).toEqual([3]);
    expect(ticks(0.3, 0.3 + 6e-17, 4)).toEqual([0.3]); // one step of a double: no round value fits
    expect(ticks(0, 1e-12, 4).length).toBeLessThan(7);
  });
});

describe('placeAfter', () => {
  it('walks along a curve and stops at its ends', () => {
    expect(placeAfter('ArrowLeft', 3, 40)).toBe(2);
    expect(placeAfter('ArrowLeft', 0, 40)).toBe(0);
    expect(placeAfter('ArrowRight', 39, 40)).toBe(39);
    expect(placeAfter('PageUp', 3, 40)).toBe(7);
    expect(placeAfter('Home', 3, 40)).toBe(0);
    expect(placeAfter('End', 3, 40)).toBe(39);
  });

  it('begins at the newest point', () => {
    expect(placeAfter('ArrowLeft', -1, 40)).toBe(38);
  });

  it('leaves other keys and empty curves alone', () => {
    expect(placeAfter('ArrowDown', 3, 40)).toBeNull();
    expect(placeAfter('ArrowLeft', -1, 0)).toBeNull();
  });
});
