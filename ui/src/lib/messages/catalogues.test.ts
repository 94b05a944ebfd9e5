import { expect, it } from 'vitest';
import { en, type Key } from './en';
import { zhHans } from './zh-Hans';
import { zhHant } from './zh-Hant';

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
