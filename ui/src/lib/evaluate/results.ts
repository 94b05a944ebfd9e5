/** Tables of an evaluation: which columns there are, numbers as text, words for metrics. */
import type { EvaluationCell } from '../ipc/bindings/EvaluationCell';
import type { EvaluationRow } from '../ipc/bindings/EvaluationRow';

/** Models first, in the order of teaching; then baselines. */
const ORDER = ['base', 'sft', 'grpo'];

/** Columns that any row fills. */
export function stagesOf(rows: EvaluationRow[]): string[] {
  const found = [...new Set(rows.flatMap((row) => row.cells.map((cell) => cell.stage)))];
  const place = (stage: string) => (ORDER.includes(stage) ? ORDER.indexOf(stage) : ORDER.length);
  return found.sort((a, b) => place(a) - place(b) || a.localeCompare(b));
}

export const isModel = (stage: string): boolean => ORDER.includes(stage);

export const cellOf = (row: EvaluationRow, stage: string): EvaluationCell | null =>
  row.cells.find((cell) => cell.stage === stage) ?? null;

/** Three digits after the point, or none for large numbers; a true minus sign. */
export function number(value: number): string {
  const text = Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(3);
  return text.replace('-', '−');
}

export const signed = (value: number): string => (value > 0 ? `+${number(value)}` : number(value));

/** The model of a row that scored best; null when that cannot be said or nobody stands out. */
export function bestOf(row: EvaluationRow): string | null {
  if (row.moreIsBetter === null) return null;
  const sign = row.moreIsBetter ? 1 : -1;
  const models = row.cells.filter((cell) => isModel(cell.stage));
  if (models.length < 2) return null;
  const [first, second] = [...models].sort((a, b) => sign * (b.mean - a.mean));
  return first && second && first.mean !== second.mean ? first.stage : null;
}
