import { en, type Catalogue, type Key } from './en';
import { zhHans } from './zh-Hans';
import { zhHant } from './zh-Hant';

export const languages = { en: 'English', 'zh-Hans': '简体中文', 'zh-Hant': '繁體中文' } as const;
export type Language = keyof typeof languages;

const catalogues: Record<Language, Catalogue> = { en, 'zh-Hans': zhHans, 'zh-Hant': zhHant };
const state = $state<{ language: Language }>({ language: initial() });

function initial(): Language {
  const kept = globalThis.localStorage?.getItem('language');
  if (kept && kept in languages) return kept as Language;
  const wanted = globalThis.navigator?.language ?? 'en';
  if (/^zh-(TW|HK|MO|Hant)/i.test(wanted)) return 'zh-Hant';
  return wanted.startsWith('zh') ? 'zh-Hans' : 'en';
}

export function language(): Language {
  return state.language;
}

export function setLanguage(value: Language): void {
  state.language = value;
  globalThis.localStorage?.setItem('language', value);
  document.documentElement.lang = value;
}

/** The key of that name, if the catalogue has it: names come from the Rust side as codes. */
export function keyOf(name: string): Key | null {
  return name in en ? (name as Key) : null;
}

/** `{name}`, or `{name:form for one|form for more}`. */
const PART = /\{(\w+)(?::([^{}|]*)\|([^{}|]*))?\}/g;
const plurals: Partial<Record<Language, Intl.PluralRules>> = {};

/** Whether the language speaks of `value` as of one. */
function isOne(value: string | number): boolean {
  const rules = (plurals[state.language] ??= new Intl.PluralRules(state.language));
  return rules.select(Number(value)) === 'one';
}

/**
 * The words of `key` with `{name}` parts filled in. `{name:one|more}` is the form that goes with the
 * number `name`, as the language counts; Chinese has one form and needs none.
 */
export function t(key: Key, values: Record<string, string | number> = {}): string {
  const text = catalogues[state.language][key];
  return text.replace(PART, (whole, name: string, one?: string, more?: string) => {
    const value = values[name];
    if (value === undefined) return whole;
    if (one === undefined || more === undefined) return String(value);
    return isOne(value) ? one : more;
  });
}

/** A duration in short words: `42 s`, `7 min`, `1 h 05 min`. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 90) return t('seconds', { seconds: whole });
  const minutes = Math.round(whole / 60);
  if (minutes < 60) return t('minutes', { minutes });
  return t('hours', { hours: Math.floor(minutes / 60), minutes: String(minutes % 60).padStart(2, '0') });
}

/** A guess in minutes, in short words: no seconds, which nobody can guess. */
export function guess(minutes: number): string {
  const whole = Math.max(1, Math.round(minutes));
  return whole === 1 ? t('minutes', { minutes: 1 }) : duration(whole * 60);
}

/** A size in short words: `340 kB`, `12 MB`, `1.4 GB`. */
export function size(bytes: number): string {
  const units = ['byte', 'kilobyte', 'megabyte', 'gigabyte'];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  const value = bytes / 1000 ** power;
  const digits = value < 10 && power > 0 ? 1 : 0;
  return new Intl.NumberFormat(state.language, {
    style: 'unit',
    unit: units[power] ?? 'byte',
    maximumFractionDigits: digits,
  }).format(value);
}

/** A moment, in milliseconds since 1970, as the language writes it. */
export function dateTime(ms: number): string {
  const style = { dateStyle: 'medium', timeStyle: 'short' } as const;
  return new Intl.DateTimeFormat(state.language, style).format(ms);
}
