import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { PromptItem } from '../ipc/bindings/PromptItem';
import type { RefineDetail } from '../ipc/bindings/RefineDetail';
import type { RefineNumbers } from '../ipc/bindings/RefineNumbers';
import binding from '../ipc/bindings/RefineNumbers.ts?raw';
import type { TrialItem } from '../ipc/bindings/TrialItem';
import type { Client } from '../ipc/client';
import { en } from '../messages/en';
import { range, short, tableRows, tickText } from './curve';
import {
  changedFields,
  hintOf,
  numberText,
  outOf,
  rangeOf,
  settingText,
  withSetting,
  type Field,
} from './settings';
import { PromptList } from './prompts.svelte';
import {
  groups,
  independentSeries,
  measureKey,
  partOf,
  refineVerdict,
  rewardSeries,
  rewardsInUse,
} from './refine';

const trial = (epoch: number, reward: number, error = 0.03): TrialItem => ({
  epoch,
  reward,
  error,
  components: [{ name: 'alignment', value: reward / 2, spread: null }],
  independent: [{ name: 'fit to real pictures', value: -0.5, spread: null }],
  diversity: 0.4,
});

describe('the verdict of refining', () => {
  it('waits for a second trial', () => {
    expect(refineVerdict([], null)).toEqual({ kind: 'early' });
    expect(refineVerdict([trial(0, 0.5)], 0)).toEqual({ kind: 'early' });
  });

  it('says what is kept, and whether that may be chance', () => {
    const trials = [trial(0, 0.5, 0.03), trial(5, 0.6, 0.04)];
    expect(refineVerdict(trials, 0)).toEqual({ kind: 'unchanged' });
    // 0.1 is no more than twice √(0.03² + 0.04²) = 0.05; 0.11 is.
    const found = refineVerdict(trials, 5);
    expect(found).toMatchObject({ kind: 'better', epoch: 5, isSure: false });
    expect(found.kind === 'better' && found.error).toBeCloseTo(0.05, 12);
    expect(refineVerdict([trial(0, 0.5), trial(5, 0.7, 0.04)], 5)).toMatchObject({ isSure: true });
  });
});

describe('the curves of refining', () => {
  const detail = {
    epochs: [
      {
        epoch: 1,
        reward: 0.4,
        spread: 0.1,
        components: [{ name: 'alignment', value: 0.2, spread: 0.05 }],
      },
    ],
    trials: [trial(0, 0.5)],
  } as RefineDetail;

  it('show the reward, every component and what nothing is trained against', () => {
    expect(rewardSeries(detail)).toEqual([
      { name: 'reward', train: [{ x: 1, y: 0.4, spread: 0.1 }], held: [{ x: 0, y: 0.5 }] },
      { name: 'alignment', train: [{ x: 1, y: 0.2, spread: 0.05 }], held: [{ x: 0, y: 0.25 }] },
    ]);
    const independent = independentSeries(detail.trials);
    expect(independent.map((s) => [s.name, s.train])).toEqual([
      ['fit to real pictures', [{ x: 0, y: -0.5 }]],
      ['trial diversity', [{ x: 0, y: 0.4 }]],
    ]);
    for (const { name } of [...rewardSeries(detail), ...independent]) expect(measureKey(name)).not.toBeNull();
  });

  it('leave room around what they show', () => {
    const raw = [{ x: 1, y: 0, spread: 1 }];
    const [low, high] = range([], raw, [{ x: 0, y: 2 }], null); // −1 … 2, a width of 3
    expect([low, high]).toEqual([-1 - 0.24, 2 + 0.24]);
    expect(range([], [], [], null)).toEqual([0, 1]);
    expect(range([], [{ x: 1, y: 2 }], [], null)).toEqual([1.8, 2.2]);
    expect(range([{ x: 1, y: 2 }], [], [], 0.01)[0]).toBe(0);
    expect(range([{ x: 1, y: 0 }], [], [], 0)).toEqual([0, 1]);
  });

  it('become a table', () => {
    const train = [1, 2, 3, 4].map((x) => ({ x, y: 2 }));
    const columns = [
      { label: 'a', points: train },
      { label: 'b', points: [{ x: 0, y: 9 }], isHeldOut: true },
    ];
    expect(tableRows(columns, 2, 0)).toEqual([
      [0, [null, 9]],
      [1, [2, null]],
      [3, [2, null]],
      [4, [2, null]],
    ]);
  });

  it('write small numbers shortly', () => {
    expect([short(0), short(0.25), short(-1.5), short(0.00002)]).toEqual([
      '0.000',
      '0.250',
      '-1.500',
      '2.0e-5',
    ]);
    expect([0, 0.25, -0.2556985, 0.000015].map(tickText)).toEqual(['0', '0.25', '-0.2556985', '1.5e-5']);
  });
});

it('cuts a picture out of its group', () => {
  const pictures = [1, 2, 3, 4].map((reward) => ({ reward, components: [] }));
  const group = { epoch: 1, prompt: 'a', file: 'a.png', pictures };
  expect(partOf(group, 2)).toEqual({ width: '400%', left: '-200%' });
});

describe('the settings of refining', () => {
  const fields = groups.flatMap((g) => g.fields);
  const defaults = Object.fromEntries(fields.map((f) => [f.key, 0])) as unknown as RefineNumbers;
  const field = (key: string) => fields.find((f) => f.key === key) as Field;

  it('are all shown, each with an explanation', () => {
    const all = [...binding.matchAll(/^(\w+): (.+),/gm)].map(([, name]) => name);
    expect(all.length).toBeGreaterThan(50);
    expect(fields.map((f) => f.key).sort()).toEqual(all.sort());
    for (const f of fields) expect(en[hintOf(f)], f.key).toMatch(/\.$/);
  });

  it('are changed and reset like those of stage 1, and name the rewards in use', () => {
    const changed = withSetting(withSetting(defaults, defaults, 'vqa', 0.2), defaults, 'similarity', 0.5);
    expect(changedFields(groups, changed, defaults)).toEqual(['vqa', 'similarity']);
    expect(rewardsInUse(changed)).toEqual([
      { name: 'similarity', weight: 0.5 },
      { name: 'vqa', weight: 0.2 },
    ]);
    const switched = withSetting(withSetting(defaults, defaults, 'rule', 'sde'), defaults, 'guard', true);
    expect(changedFields(groups, switched, defaults)).toEqual(['guard', 'rule']);
  });

  it('are read in words, and say what they take', () => {
    const words = (key: string) => key;
    expect(settingText(field('rule'), 'sde', words)).toBe('ruleSde');
    expect(settingText(field('rule'), 'of a later version', words)).toBe('of a later version');
    expect(settingText(field('guard'), true, words)).toBe('settingOn');
    expect(settingText(field('eps'), 1e-8, words)).toBe('1e-8');
    expect(rangeOf(field('imagesPerPrompt'))).toEqual(['settingFrom', { min: 2 }]);
    expect(rangeOf(field('simLow'))).toEqual(['settingBetween', { min: -1, max: 1 }]);
    expect(outOf(field('ema'), 1.5)).toEqual(['settingBetween', { min: 0, max: 1 }]);
    expect(outOf(field('beta'), -1)).toEqual(['settingFrom', { min: 0 }]);
    expect([outOf(field('ema'), 1), outOf(field('rule'), 'sde')]).toEqual([null, null]);
    expect([rangeOf(field('ema')), rangeOf(field('beta')), rangeOf(field('rule'))]).toEqual([
      null,
      null,
      null,
    ]);
  });
});

it('shows a small number by its power of ten', () => {
  expect([0, 0.45, 30, 0.002, 0.000002, 1.5e-5].map(numberText)).toEqual([
    '0',
    '0.45',
    '30',
    '0.002',
    '2e-6',
    '1.5e-5',
  ]);
});

describe('prompts', () => {
  const draft = (id: string): PromptItem => ({
    id,
    text: id,
    isHeldOut: false,
    isDraft: true,
    questions: [],
  });
  const savePrompts = vi.fn((_: string, prompts: PromptItem[]) => Promise.resolve(`saved ${prompts.length}`));
  const client = {
    refinePrompts: () => Promise.resolve(['a', 'b', 'c', 'd'].map(draft)),
    savePrompts,
  } as unknown as Client;

  beforeEach(() => {
    vi.useFakeTimers();
    savePrompts.mockClear();
  });
  afterEach(() => void vi.useRealTimers());

  it('are saved a moment after a change, drafts and all, without the unwritten', async () => {
    const saved = vi.fn();
    const list = new PromptList(client, 'x', saved);
    await list.load();
    expect([list.areDrafts, list.areTooFew]).toEqual([true, false]);
    list.add();
    list.touch();
    list.touch();
    await vi.runAllTimersAsync();
    expect(savePrompts).toHaveBeenCalledTimes(1);
    expect(savePrompts.mock.calls[0]?.[1].map((p) => p.id)).toEqual(['a', 'b', 'c', 'd']);
    expect([list.areDrafts, list.state]).toEqual([false, 'saved']);
    expect(saved).toHaveBeenCalledWith('saved 4');
  });

  it('that could not be read are never saved over', async () => {
    const refinePrompts = vi.fn(() => Promise.reject(new Error('busy')));
    const list = new PromptList({ ...client, refinePrompts } as unknown as Client, 'x', () => undefined);
    await expect(list.load()).rejects.toThrow('busy');
    list.add();
    list.touch();
    await vi.runAllTimersAsync();
    await list.flush();
    expect(savePrompts).not.toHaveBeenCalled();
  });

  it('come back after being removed, and a failure keeps them unsaved', async () => {
    const list = new PromptList(client, 'x', () => undefined);
    await list.load();
    const back = list.remove(1);
    expect(list.areTooFew).toBe(true);
    savePrompts.mockRejectedValueOnce({ code: 'storage', message: 'full', hint: '' });
    await vi.runAllTimersAsync();
    expect([list.state, list.error?.message]).toEqual(['failed', 'full']);
    back();
    await list.flush();
    expect(list.prompts.map((p) => p.id)).toEqual(['a', 'b', 'c', 'd']);
    expect(list.state).toBe('saved');
  });
});
