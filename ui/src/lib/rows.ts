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

/** How many rows a key moves by in such a list; undefined for keys that do not move. */
export function keyStep(
  event: KeyboardEvent,
  of: { total: number; row: number; height: number },
): number | undefined {
  if (event.ctrlKey || event.metaKey || event.altKey) return undefined;
  const page = Math.max(1, Math.floor(of.height / of.row) - 1);
  const steps: Record<string, number> = {
    ArrowDown: 1,
    ArrowUp: -1,
    PageDown: page,
    PageUp: -page,
    Home: -of.total,
    End: of.total,
  };
  return steps[event.key];
}

/** Where to scroll so that the row at `index` is seen. */
export function scrolled(index: number, of: { row: number; top: number; height: number }): number {
  const at = index * of.row;
  if (at < of.top) return at;
  return at + of.row > of.top + of.height ? at + of.row - of.height : of.top;
}
