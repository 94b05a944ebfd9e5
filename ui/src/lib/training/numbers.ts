/** Numbers of a run as the expert panel shows them. */
import type { Key } from '../messages/en';

export type Numbers = Record<string, number>;
export type Unit = 'steps' | 'epochs' | 'trials' | 'tokens' | 'samples' | 'share' | 'none';
export type NumberField<T extends Numbers> = {
  key: keyof T & string;
  label: Key;
  unit: Unit;
  step: number;
  /** Least value; 0 when absent. */
  min?: number;
  max?: number;
  testid?: string;
};
export type FieldGroup<T extends Numbers> = { label: Key; fields: NumberField<T>[] };

/** Makers of fields of one kind of run. */
export function fieldsOf<T extends Numbers>() {
  type Name = keyof T & string;
  return {
    whole: (key: Name, label: Key, unit: Unit): NumberField<T> => ({ key, label, unit, step: 1 }),
    share: (key: Name, label: Key): NumberField<T> => ({ key, label, unit: 'share', step: 0.01, max: 1 }),
    real: (key: Name, label: Key, step: number): NumberField<T> => ({ key, label, unit: 'none', step }),
  };
}

/** Fields that differ from the defaults. */
export function changedFields<T extends Numbers>(
  groups: FieldGroup<T>[],
  numbers: T,
  defaults: T,
): (keyof T & string)[] {
  return groups.flatMap((g) => g.fields.map((f) => f.key)).filter((key) => numbers[key] !== defaults[key]);
}

/** `numbers` with one changed; a cleared field goes back to its default. */
export function withNumber<T extends Numbers>(
  numbers: T,
  defaults: T,
  key: keyof T & string,
  value: number,
): T {
  return { ...numbers, [key]: Number.isFinite(value) ? value : defaults[key] };
}

/** Smallest size that is written out in a field. */
const WRITTEN_OUT = 0.001;

/** A number as its field shows it: small ones by their power of ten, which fits. */
export function fieldText(value: number): string {
  const isSmall = value !== 0 && Math.abs(value) < WRITTEN_OUT;
  return isSmall ? value.toExponential() : String(value);
}

export type NumberRow = { label: Key; unit: Unit; text: string };

/** The numbers of a run by group, as text to be read. */
export function numberRows<T extends Numbers>(
  groups: FieldGroup<T>[],
  numbers: T,
): { label: Key; rows: NumberRow[] }[] {
  return groups.map(({ label, fields }) => ({
    label,
    rows: fields.map((field) => ({
      label: field.label,
      unit: field.unit,
      text: fieldText(numbers[field.key] ?? 0),
    })),
  }));
}

/** Those numbers as lines to be copied, `words` and `label` being what they are called. */
export function numbersText(
  groups: { label: Key; rows: NumberRow[] }[],
  words: (key: Key) => string,
  label: (row: NumberRow) => string,
): string {
  return groups
    .map((group) =>
      [words(group.label), ...group.rows.map((row) => `  ${label(row)}: ${row.text}`)].join('\n'),
    )
    .join('\n');
}
