import { describe, expect, it } from 'vitest';
import type { RecipeItem } from '../ipc/bindings/RecipeItem';
import binding from '../ipc/bindings/RecipeItem.ts?raw';
import { en } from '../messages/en';
import { groups } from './recipe';
import { changedFields, hintOf, settingRows, settingsText, withSetting } from './settings';
import { best, points, verdict } from './verdict';

const held = (...values: number[]) => values.map((y, i) => ({ x: i * 100, y }));

describe('the verdict', () => {
  it('waits for numbers', () => {
    expect(verdict([])).toEqual({ kind: 'early' });
    expect(verdict(held(2))).toEqual({ kind: 'early' });
  });

  it('tells learning, standing still and copying apart', () => {
    expect(verdict(held(2, 1.6, 1.5))).toEqual({ kind: 'learning', percent: 25 }); // 1 − 1.5 / 2
    expect(verdict(held(2, 1.99, 1.98))).toEqual({ kind: 'flat' });
    expect(verdict(held(2, 1.5, 1.8))).toEqual({ kind: 'copying', step: 100, percent: 20 }); // 1.8 / 1.5
    expect(verdict(held(2, 1.5, 1.51))).toEqual({ kind: 'learning', percent: 25 }); // 1.51 / 1.5 is noise
  });

  it('reads one part of a curve', () => {
    const curve = [
      { step: 1, ce: 3, mse: null },
      { step: 2, ce: null, mse: 0.5 },
    ];
    expect(points(curve, 'ce')).toEqual([{ x: 1, y: 3 }]);
    expect(best(held(2, 1, 1))).toEqual({ x: 100, y: 1 });
  });
});

describe('the recipe', () => {
  const defaults = Object.fromEntries(
    groups.flatMap((g) => g.fields).map((f) => [f.key, 1]),
  ) as unknown as RecipeItem;

  it('shows every setting there is, each with an explanation', () => {
    const all = [...binding.matchAll(/^(\w+): (.+),/gm)].map(([, name]) => name);
    const fields = groups.flatMap((g) => g.fields);
    expect(all.length).toBeGreaterThan(40);
    expect(fields.map((f) => f.key).sort()).toEqual(all.sort());
    for (const field of fields) expect(en[hintOf(field)], field.key).toMatch(/\.$/);
  });

  it('knows what was changed, and a cleared field is the default again', () => {
    const recipe = withSetting(defaults, defaults, 'pictures', 6);
    expect(changedFields(groups, recipe, defaults)).toEqual(['pictures']);
    expect(withSetting(recipe, defaults, 'pictures', NaN)).toEqual(defaults);
  });

  it('is read and copied group by group, under the names of its fields', () => {
    const rows = settingRows(
      groups.slice(0, 1),
      { ...defaults, numSteps: 300, finalLrShare: 0.0001 },
      (key) => key,
    );
    expect(rows[0]?.rows.slice(0, 3)).toEqual([
      { label: 'steps', unit: 'steps', text: '300' },
      { label: 'recipeWarmup', unit: 'steps', text: '1' },
      { label: 'recipeFinalRate', unit: 'share', text: '1e-4' },
    ]);
    const text = settingsText(
      rows,
      (key) => key,
      (row) => `${row.label} (${row.unit})`,
    );
    expect(text.split('\n').slice(0, 2)).toEqual(['recipeLength', '  steps (steps): 300']);
  });
});
