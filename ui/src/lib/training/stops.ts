/** Where a curve can be read: its own points, held-out dots and checkpoints, merged by their x. */
import { placeAfter, type Mean, type Point } from './curve';

export type Stop = {
  x: number;
  /** The point of the curve, with its smoothed value. */
  train: (Mean & { smooth: number }) | null;
  held: Point | null;
  isCheckpoint: boolean;
};

/** Dots and checkpoints, which are few, before points of the line. */
export const isMark = (stop: Stop): boolean => stop.held !== null || stop.isCheckpoint;

/** `smoothed` has a point for each of `train`. */
export function stopsOf(train: Mean[], smoothed: Point[], held: Point[], checkpoints: number[]): Stop[] {
  const known = new Map<number, Stop>();
  const at = (x: number): Stop => {
    const stop = known.get(x) ?? { x, train: null, held: null, isCheckpoint: false };
    known.set(x, stop);
    return stop;
  };
  train.forEach((point, i) => {
    at(point.x).train = { ...point, smooth: smoothed[i]?.y ?? point.y };
  });
  for (const point of held) at(point.x).held = point;
  for (const x of checkpoints) at(x).isCheckpoint = true;
  return [...known.values()].sort((a, b) => a.x - b.x);
}

/** The stop that a pointer at `x` reads: a mark no farther than `reach`, else the nearest. */
export function nearest(stops: Stop[], x: number, reach: number): Stop | null {
  const distance = (stop: Stop) => Math.abs(stop.x - x);
  const closest = (of: Stop[]) =>
    of.reduce<Stop | null>((best, stop) => (best && distance(best) <= distance(stop) ? best : stop), null);
  const mark = closest(stops.filter(isMark));
  return mark && distance(mark) <= reach ? mark : closest(stops);
}

/**
 * The place that a key leads to from place `at`, the newest where `at` is none: up and down go from
 * mark to mark, other keys as along any curve. Null when the key does not move.
 */
export function stopAfter(key: string, at: number, stops: Stop[]): number | null {
  if (key !== 'ArrowUp' && key !== 'ArrowDown') return placeAfter(key, at, stops.length);
  const marks = stops.flatMap((stop, place) => (isMark(stop) ? [place] : []));
  if (marks.length === 0) return null;
  const from = at < 0 ? stops.length : at;
  const wanted = key === 'ArrowUp' ? marks.find((p) => p > from) : marks.filter((p) => p < from).at(-1);
  return wanted ?? (key === 'ArrowUp' ? (marks.at(-1) ?? null) : (marks[0] ?? null));
}
