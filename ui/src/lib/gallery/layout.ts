/** Arithmetic of a grid that draws only what is in view. */

export type Layout = { columns: number; cell: number; height: number; first: number; last: number };

/**
 * Square cells at least `minCell` wide that fill `width`, with `gap` between and `extra` under each.
 * `first` and `last` (inclusive, -1 when empty) are the places to draw: what is in view and
 * `spare` rows around it.
 */
export function layout(of: {
  total: number;
  width: number;
  height: number;
  top: number;
  minCell: number;
  gap: number;
  extra?: number;
  spare?: number;
}): Layout {
  const { total, width, height, top, minCell, gap, extra = 0, spare = 2 } = of;
  const columns = Math.max(1, Math.floor((width + gap) / (minCell + gap)));
  const cell = Math.max(1, (width - gap * (columns - 1)) / columns);
  const row = cell + extra + gap;
  const rows = Math.ceil(total / columns);
  const firstRow = Math.max(0, Math.floor(top / row) - spare);
  const lastRow = Math.min(rows - 1, Math.floor((top + height) / row) + spare);
  return {
    columns,
    cell,
    height: Math.max(0, rows * row - gap),
    first: Math.min(firstRow * columns, Math.max(0, total - 1)),
    last: Math.min((lastRow + 1) * columns, total) - 1,
  };
}

/** Where the place `index` is drawn. */
export function position(
  index: number,
  at: Pick<Layout, 'columns' | 'cell'>,
  gap: number,
  extra = 0,
): { x: number; y: number } {
  const [column, row] = [index % at.columns, Math.floor(index / at.columns)];
  return { x: column * (at.cell + gap), y: row * (at.cell + extra + gap) };
}
