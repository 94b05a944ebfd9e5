/** Arithmetic of loss curves. */

export type Point = { x: number; y: number };
/** A mean with its standard deviation, where one is known. */
export type Mean = Point & { spread?: number };
/** A column of a curve's table. A held-out one is shown as measured, others smoothed. */
export type Column = { label: string; points: Point[]; isHeldOut?: boolean };

/** Exponential smoothing with bias correction; `weight` in [0, 1) is how much of the past stays. */
export function smooth(points: Point[], weight: number): Point[] {
  let [sum, mass] = [0, 0];
  return points.map(({ x, y }) => {
    sum = weight * sum + (1 - weight) * y;
    mass = weight * mass + (1 - weight);
    return { x, y: sum / mass };
  });
}

/** About `count` round values that cover [low, high]. */
export function ticks(low: number, high: number, count: number): number[] {
  if (!(high > low)) return [low];
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw) ?? raw;
  const [first, last] = [Math.ceil(low / step), Math.floor(high / step + 1e-6)];
  // A range too narrow for its values has no round ones.
  if (!(last - first <= 2 * count + 2)) return [low];
  const values = Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => (first + i) * step);
  return [...new Set(values.map((v) => Number(v.toPrecision(12))))];
}

/** Large strides over a curve, from end to end. */
const STRIDES = 10;

/**
 * The place that a key leads to from place `at` among `count` points, from the newest where `at` is
 * none of them; null when the key does not move.
 */
export function placeAfter(key: string, at: number, count: number): number | null {
  if (count === 0) return null;
  const last = count - 1;
  const from = at < 0 || at > last ? last : at;
  const stride = Math.max(1, Math.round(count / STRIDES));
  const places: Record<string, number> = {
    ArrowLeft: from - 1,
    ArrowRight: from + 1,
    PageDown: from - stride,
    PageUp: from + stride,
    Home: 0,
    End: last,
  };
  const place = places[key];
  return place === undefined ? null : Math.max(0, Math.min(last, place));
}

/** Least height of a plot that begins at 0. */
export const LEAST = 0.01;

/**
 * Lowest and highest value of a plot: from 0 up to `least` at least, as a loss is shown, or around
 * its values when `least` is null.
 */
export function range(smoothed: Point[], raw: Mean[], held: Point[], least: number | null): [number, number] {
  if (least !== null) {
    const top = Math.max(least, ...smoothed.map((p) => p.y * 1.15), ...held.map((p) => p.y * 1.05));
    return [0, top > 0 ? top : 1];
  }
  const values = [
    ...raw.flatMap((p) => [p.y - (p.spread ?? 0), p.y + (p.spread ?? 0)]),
    ...held.map((p) => p.y),
  ];
  if (values.length === 0) return [0, 1];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  // Values that differ by rounding alone are one value.
  const isFlat = high - low <= Math.max(Math.abs(low), Math.abs(high)) * 1e-6;
  const room = isFlat ? Math.abs(high) * 0.1 || 1 : (high - low) * 0.08;
  return [low - room, high + room];
}

/** The label of a tick; small values by their power of ten. */
export function tickText(value: number): string {
  const isSmall = value !== 0 && Math.abs(value) < 0.001;
  return isSmall ? Number(value.toPrecision(4)).toExponential() : String(value);
}

/** A value in few letters. */
export function short(value: number): string {
  if (value === 0 || (Math.abs(value) >= 0.001 && Math.abs(value) < 10_000)) return value.toFixed(3);
  return value.toExponential(1);
}

/** Rows of a table of at most about `most`: every few steps, the last, and all held-out ones. */
export function tableRows(columns: Column[], most: number, smoothing: number): [number, (number | null)[]][] {
  const xs = (isHeldOut: boolean) =>
    columns.filter((c) => (c.isHeldOut ?? false) === isHeldOut).flatMap((c) => c.points.map((p) => p.x));
  const all = [...new Set(xs(false))].sort((a, b) => a - b);
  const every = Math.max(1, Math.ceil(all.length / most));
  const shown = all.filter((_, i) => i % every === 0 || i === all.length - 1);
  const steps = [...new Set([...shown, ...xs(true)])].sort((a, b) => a - b);
  const values = columns.map(({ points, isHeldOut }) => {
    if (isHeldOut) {
      const known = new Map(points.map((p) => [p.x, p.y]));
      return (step: number) => known.get(step) ?? null;
    }
    const smoothed = smooth(points, smoothing);
    // The newest at or before a step: not every step has every value.
    return (step: number) => smoothed.filter((p) => p.x <= step).at(-1)?.y ?? null;
  });
  return steps.map((step) => [step, values.map((at) => at(step))]);
}
