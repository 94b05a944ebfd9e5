import { afterEach, expect, it } from 'vitest';
import { en, type Key } from './en';
import { setLanguage, t } from './index.svelte';
import { zhHans } from './zh-Hans';
import { zhHant } from './zh-Hant';

afterEach(() => setLanguage('en'));

const parts = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((m) => m[1]).sort();

it.each([
  ['zh-Hans', zhHans],
  ['zh-Hant', zhHant],
])('%s says everything, with the same parts to fill in', (_, catalogue) => {
  expect(Object.keys(catalogue).sort()).toEqual(Object.keys(en).sort());
  for (const key of Object.keys(en) as Key[]) {
    expect(catalogue[key].trim(), key).not.toBe('');
    expect(parts(catalogue[key]), key).toEqual(parts(en[key]));
  }
});

it('speaks of one as of one', () => {
  expect([0, 1, 2].map((count) => t('pairLines', { count }))).toEqual([
    '0 lines of dialogue',
    '1 line of dialogue',
    '2 lines of dialogue',
  ]);
  // Counts of findings come as text.
  expect(t('finding.no-caption', { count: '1', total: '1' })).toBe(
    '1 of 1 picture has no caption, so nothing says what it shows.',
  );
  expect(t('treeHint', { count: 2, branches: 1 })).toBe('2 messages, 1 fork');
  expect([1, 5].map((count) => t('sheetDraw', { count }))).toEqual(['Draw 1', 'Draw all 5']);
  setLanguage('zh-Hans');
  expect(t('pairLines', { count: 1 })).toBe('1 句对话');
});

it('has both forms of every word that it counts', () => {
  const all = Object.entries(en);
  const counted = new Set(all.flatMap(([, text]) => [...text.matchAll(/\{(\w+):/g)].map((m) => m[1])));
  for (const [key, text] of all) {
    // A number before a noun in the plural, or before a verb of many.
    for (const [, name] of text.matchAll(/\{(\w+)\} (?:[a-z-]+ )?(?:[a-z]+s|are|were|do|have)\b/g)) {
      expect(counted, `${key}: ${name}`).not.toContain(name);
    }
  }
});
