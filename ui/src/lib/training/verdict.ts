/** What loss curves say, for people who do not read curves. */
import type { CurvePoint } from '../ipc/bindings/CurvePoint';
import type { Point } from './curve';

export type Part = 'ce' | 'mse';
export type Verdict =
  /** Too few numbers. */
  | { kind: 'early' }
  /** Kept-back examples got better by `percent` and are at their best now. */
  | { kind: 'learning'; percent: number }
  /** They were best at `step` and have become worse by `percent` since: it begins to copy. */
  | { kind: 'copying'; step: number; percent: number }
  /** They hardly moved. */
  | { kind: 'flat' };

/** Changes below this share are noise. */
const NOISE = 0.02;

export function points(list: CurvePoint[], part: Part): Point[] {
  return list.flatMap((p) => {
    const y = p[part];
    return y === null ? [] : [{ x: p.step, y }];
  });
}

/** The point with the lowest loss; the first of equals. */
export function best(held: Point[]): Point | null {
  return held.reduce<Point | null>((low, p) => (low === null || p.y < low.y ? p : low), null);
}

const percent = (share: number) => Math.round(share * 100);

/** Judges the losses on examples that are not learned from. */
export function verdict(held: Point[]): Verdict {
  const [first, last, low] = [held[0], held.at(-1), best(held)];
  if (held.length < 2 || !first || !last || !low || first.y <= 0 || low.y <= 0) return { kind: 'early' };
  const worse = last.y / low.y - 1;
  if (worse > NOISE && low.x < last.x && low.x > first.x) {
    return { kind: 'copying', step: low.x, percent: percent(worse) };
  }
  const better = 1 - last.y / first.y;
  if (better > NOISE) return { kind: 'learning', percent: percent(better) };
  return { kind: 'flat' };
}
