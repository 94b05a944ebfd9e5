/** Arithmetic of a list of equally high rows that draws only what is in view. */

export type Range = { first: number; last: number; height: number };

/** Places to draw, inclusive and with `spare` rows around; `last` is -1 when there are none. */
export function range(of: {
  total: number;
  row: number;
  top: number;
  height: number;
  spare?: number;
}): Range {
  const { total, row, top, height, spare = 6 } = of;
  return {
    first: Math.max(0, Math.min(Math.floor(top / row) - spare, Math.max(0, total - 1))),
    last: Math.min(total, Math.ceil((top + height) / row) + spare) - 1,
    height: total * row,
  };
}

/** Where to scroll so that the row at `index` is seen. */
export function scrolled(index: number, of: { row: number; top: number; height: number }): number {
  const at = index * of.row;
  if (at < of.top) return at;
  return at + of.row > of.top + of.height ? at + of.row - of.height : of.top;
}
