/** Numbers and switches of a run as the expert panel shows them. */
import type { Key } from '../messages/en';

export type Setting = number | boolean | string;
export type Settings = Record<string, Setting>;
export type Unit = 'steps' | 'epochs' | 'trials' | 'tokens' | 'samples' | 'share' | 'none';

/** Keys with an explanation: the same key with `Hint` behind it. */
export type Explained = { [K in Key]: `${K}Hint` extends Key ? K : never }[Key];
type Named<T extends Settings, V> = { [K in keyof T]: T[K] extends V ? K : never }[keyof T] & string;

type Common = { key: string; label: Explained; testid?: string };
export type NumberField = Common & {
  kind: 'number';
  unit: Unit;
  step: number;
  /** Least value; 0 when absent. */
  min?: number;
  max?: number;
};
export type SwitchField = Common & { kind: 'switch' };
export type ChoiceField = Common & { kind: 'choice'; choices: { value: string; label: Key }[] };
export type Field = NumberField | SwitchField | ChoiceField;
export type FieldGroup = { label: Key; fields: Field[] };

/** Makers of fields of one kind of run. */
export function fieldsOf<T extends Settings>() {
  type Numeric = Named<T, number>;
  const number = (key: Numeric, label: Explained, unit: Unit, step: number): NumberField => ({
    kind: 'number',
    key,
    label,
    unit,
    step,
  });
  return {
    whole: (key: Numeric, label: Explained, unit: Unit) => number(key, label, unit, 1),
    share: (key: Numeric, label: Explained) => ({ ...number(key, label, 'share', 0.01), max: 1 }),
    real: (key: Numeric, label: Explained, step: number) => number(key, label, 'none', step),
    flag: (key: Named<T, boolean>, label: Explained): SwitchField => ({ kind: 'switch', key, label }),
    choice: <K extends Exclude<keyof T & string, Numeric | Named<T, boolean>>>(
      key: K,
      label: Explained,
      choices: Record<T[K] & string, Key>,
    ): ChoiceField => ({
      kind: 'choice',
      key,
      label,
      choices: Object.entries<Key>(choices).map(([value, words]) => ({ value, label: words })),
    }),
  };
}

/** Fields that differ from the defaults. */
export function changedFields<T extends Settings>(
  groups: FieldGroup[],
  settings: T,
  defaults: T,
): (keyof T & string)[] {
  return groups.flatMap((g) => g.fields.map((f) => f.key)).filter((key) => settings[key] !== defaults[key]);
}

/** `settings` with one changed; a cleared number goes back to its default. */
export function withSetting<T extends Settings>(settings: T, defaults: T, key: string, value: Setting): T {
  return { ...settings, [key]: Number.isNaN(value) ? defaults[key] : value };
}

/** Smallest size that is written out in a field. */
const WRITTEN_OUT = 0.001;

/** A number as its field shows it: small ones by their power of ten, which fits. */
export function numberText(value: number): string {
  const isSmall = value !== 0 && Math.abs(value) < WRITTEN_OUT;
  return isSmall ? value.toExponential() : String(value);
}

/** A setting as it is read: choices and switches in words. */
export function settingText(field: Field, value: Setting, words: (key: Key) => string): string {
  if (typeof value === 'number') return numberText(value);
  if (typeof value === 'boolean') return words(value ? 'settingOn' : 'settingOff');
  const choice = field.kind === 'choice' && field.choices.find((c) => c.value === value);
  return choice ? words(choice.label) : value;
}

type Range = [Key, Record<string, number>];

function ends({ min = 0, max }: NumberField): Range {
  return max === undefined ? ['settingFrom', { min }] : ['settingBetween', { min, max }];
}

/** What a field takes, where that is not plain: a message and its values. A share names its ends in its unit. */
export function rangeOf(field: Field): Range | null {
  if (field.kind !== 'number' || field.unit === 'share') return null;
  return field.max === undefined && (field.min ?? 0) <= 0 ? null : ends(field);
}

/** What a field takes, when `value` lies outside. */
export function outOf(field: Field, value: Setting): Range | null {
  if (field.kind !== 'number' || typeof value !== 'number') return null;
  const { min = 0, max = Infinity } = field;
  return value < min || value > max ? ends(field) : null;
}

/** The message that explains a field. */
export function hintOf(field: Field): Key {
  return `${field.label}Hint`;
}

export type SettingRow = { label: Key; unit: Unit; text: string };

/** The settings of a run by group, as text to be read. */
export function settingRows(
  groups: FieldGroup[],
  settings: Settings,
  words: (key: Key) => string,
): { label: Key; rows: SettingRow[] }[] {
  return groups.map(({ label, fields }) => ({
    label,
    rows: fields.map((field) => ({
      label: field.label,
      unit: field.kind === 'number' ? field.unit : 'none',
      text: settingText(field, settings[field.key] ?? 0, words),
    })),
  }));
}

/** Those settings as lines to be copied, `words` and `label` being what they are called. */
export function settingsText(
  groups: { label: Key; rows: SettingRow[] }[],
  words: (key: Key) => string,
  label: (row: SettingRow) => string,
): string {
  return groups
    .map((group) =>
      [words(group.label), ...group.rows.map((row) => `  ${label(row)}: ${row.text}`)].join('\n'),
    )
    .join('\n');
}
