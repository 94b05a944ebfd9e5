/** Arithmetic of loss curves. */

export type Point = { x: number; y: number };

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
  const values: number[] = [];
  for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-6; v += step) {
    values.push(Number(v.toPrecision(12)));
  }
  return values;
}

/** A duration in short words: `42 s`, `7 min`, `1 h 05 min`. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 90) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`;
}
