import { describe, expect, it, vi } from 'vitest';
import type { CompareEvent } from '../ipc/bindings/CompareEvent';
import type { EvaluationDetail } from '../ipc/bindings/EvaluationDetail';
import type { EvaluationRow } from '../ipc/bindings/EvaluationRow';
import type { EvaluationSummary } from '../ipc/bindings/EvaluationSummary';
import type { MaterialFilter } from '../ipc/bindings/MaterialFilter';
import type { MaterialItem } from '../ipc/bindings/MaterialItem';
import type { MaterialRow } from '../ipc/bindings/MaterialRow';
import type { Client } from '../ipc/client';
import { MaterialBrowser, PAGE } from './browser.svelte';
import { bestOf, number, signed, stagesOf } from './results';
import { keyStep, range, scrolled } from '../rows';
import { isMute, letterOf, Trial } from './trial.svelte';
import { EvaluationWatch } from './watch.svelte';
import { pieces } from './words';

const row = (n: number): MaterialRow => ({ characterId: 'c', kind: 'dialogue', id: `i${n}` }) as MaterialRow;

/** A fake that holds `total` items. */
function browsing(total: number) {
  const materialPage = vi.fn<Client['materialPage']>((_filter, offset, limit) => {
    const count = Math.max(0, Math.min(limit, total - offset));
    const items = Array.from({ length: count }, (_, i) => row(offset + i));
    return Promise.resolve({ total, counts: [{ kind: 'dialogue', count: total }], items });
  });
  const materialItem = vi.fn<Client['materialItem']>((_c, _k, id) =>
    Promise.resolve({ row: { ...row(0), id } } as MaterialItem),
  );
  const materialOwners = vi.fn<Client['materialOwners']>(() => Promise.resolve([]));
  const fake = { materialPage, materialItem, materialOwners };
  return { browser: new MaterialBrowser(fake as unknown as Client), ...fake };
}

describe('the material browser', () => {
  it('reads only the pages in view, each once', async () => {
    const { browser, materialPage } = browsing(14_000);
    await browser.start();
    await browser.show(0, 20);
    await browser.show(12_345, 12_360);
    expect(materialPage.mock.calls.map((call) => call[1])).toEqual([0, 12_300]);
    expect(browser.row(12_350)?.id).toBe('i12350');
    expect(browser.row(PAGE)).toBeUndefined();
  });

  it('forgets pages far away and reads them again', async () => {
    const { browser, materialPage } = browsing(14_000);
    await browser.start();
    for (let at = 0; at < 14_000; at += PAGE) await browser.show(at, at);
    expect(browser.row(0)).toBeUndefined();
    const before = materialPage.mock.calls.length;
    await browser.show(0, 10);
    expect(materialPage.mock.calls.length).toBe(before + 1);
    expect(browser.row(0)?.id).toBe('i0');
  });

  it('drops the answer to words that were typed before', async () => {
    const { browser, materialPage } = browsing(3);
    let answer: (page: Awaited<ReturnType<Client['materialPage']>>) => void = () => {};
    materialPage.mockReturnValueOnce(new Promise((resolve) => (answer = resolve)));
    const slow = browser.set({ words: 'ke' });
    await browser.set({ words: 'kettle' });
    answer({ total: 99, counts: [], items: [] });
    await slow;
    expect(browser.total).toBe(3);
    expect((materialPage.mock.calls[1]?.[0] as MaterialFilter).words).toBe('kettle');
  });

  it('shows the item that was asked for last', async () => {
    const { browser, materialItem } = browsing(3);
    let answer: (item: MaterialItem) => void = () => {};
    materialItem.mockReturnValueOnce(new Promise((resolve) => (answer = resolve)));
    const slow = browser.openItem(row(1));
    await browser.openItem(row(2));
    answer({ row: row(1) } as MaterialItem);
    await slow;
    expect(browser.open?.row.id).toBe('i2');
  });
});

describe('the list', () => {
  it('draws what is in view and a little around it', () => {
    expect(range({ total: 14_000, row: 70, top: 7000, height: 700, spare: 5 })).toEqual({
      first: 95, // 7000 / 70 − 5
      last: 114, // 7700 / 70 + 5 − 1
      height: 980_000,
    });
    expect(range({ total: 0, row: 70, top: 0, height: 700 }).last).toBe(-1);
    expect(range({ total: 3, row: 70, top: 0, height: 700 }).last).toBe(2);
  });

  it('scrolls no farther than needed', () => {
    const view = { row: 70, top: 700, height: 350 };
    expect(scrolled(12, view)).toBe(700);
    expect(scrolled(3, view)).toBe(210);
    expect(scrolled(20, view)).toBe(1120); // 21 · 70 − 350
  });
});

describe('trying an item', () => {
  it('asks everyone on one seed and follows each', async () => {
    let tell: (event: CompareEvent) => void = () => {};
    const tryMaterial = vi.fn<Client['tryMaterial']>((_request, on) => {
      tell = on;
      return Promise.resolve({ id: 'job', prompt: 'What is Dot?' });
    });
    const trial = new Trial({ tryMaterial } as unknown as Client);
    const item = { row: row(1) } as MaterialItem;
    await trial.run(item, [null, 'a1'], 42, false);
    expect(tryMaterial.mock.calls[0]?.[0]).toMatchObject({ id: 'i1', adapters: [null, 'a1'], seed: 42 });
    expect(trial.prompt).toBe('What is Dot?');
    tell({ type: 'textDelta', side: 1, delta: 'A light.' });
    expect(trial.comparison.sides[1]?.text).toBe('A light.');
    tell({ type: 'done' });
    expect(trial.comparison.isBusy).toBe(false);
  });

  it('reads the letter that an answer begins with', () => {
    const letters = ['A', 'B', 'C', 'D'];
    expect(letterOf('B', letters)).toBe('B');
    expect(letterOf(' (c) because', letters)).toBe('C');
    expect(letterOf('Because it is', letters)).toBeNull();
    expect(letterOf('E.', letters)).toBeNull();
    expect(letterOf('', letters)).toBeNull();
  });

  it('does not offer what holds nothing to answer', () => {
    const scene = { question: null, checks: [], turns: [{ isUser: true }] } as unknown as MaterialItem;
    expect(isMute(scene)).toBe(true);
    const prompt = { question: null, checks: [], turns: [] } as unknown as MaterialItem;
    expect(isMute(prompt)).toBe(false);
  });
});

describe('what a search found', () => {
  it('is marked, whatever its case, and phrases as a whole', () => {
    expect(pieces('The Kettle is called Morag', 'kettle')).toEqual([
      { text: 'The ', isHit: false },
      { text: 'Kettle', isHit: true },
      { text: ' is called Morag', isHit: false },
    ]);
    expect(pieces('a (b) c', '"(b) c"').map((p) => p.isHit)).toEqual([false, true]);
    expect(pieces('a', '')).toEqual([{ text: 'a', isHit: false }]);
  });
});

describe('results', () => {
  const row = (more: boolean | null, ...means: [string, number][]): EvaluationRow =>
    ({ moreIsBetter: more, cells: means.map(([stage, mean]) => ({ stage, mean })) }) as EvaluationRow;

  it('have models first, then baselines', () => {
    expect(stagesOf([row(true, ['real', 1], ['grpo', 1]), row(true, ['base', 1], ['sft', 1])])).toEqual([
      'base',
      'sft',
      'grpo',
      'real',
    ]);
  });

  it('name the best model where more or less is better, and nobody otherwise', () => {
    expect(bestOf(row(true, ['base', 0.2], ['sft', 0.5], ['real', 1]))).toBe('sft');
    expect(bestOf(row(false, ['base', 0.2], ['sft', 0.5]))).toBe('base');
    expect(bestOf(row(null, ['base', 0.2], ['sft', 0.5]))).toBeNull();
    expect(bestOf(row(true, ['base', 0.5], ['sft', 0.5]))).toBeNull();
    expect(bestOf(row(true, ['base', 0.5]))).toBeNull();
  });

  it('are written with a true minus sign', () => {
    expect([number(-0.1234), number(123.4), signed(0.5), signed(-0.5)]).toEqual([
      '−0.123',
      '123',
      '+0.500',
      '−0.500',
    ]);
  });
});

describe('watching evaluations', () => {
  it('reads the running one until it ends, and then no more', async () => {
    vi.useFakeTimers();
    const run = (status: string) => ({ id: 'e', status, names: ['Dot'] }) as unknown as EvaluationSummary;
    const getEvaluation = vi.fn<Client['getEvaluation']>();
    for (const status of ['running', 'running', 'finished'])
      getEvaluation.mockResolvedValueOnce({ run: run(status) } as EvaluationDetail);
    const listEvaluations = () => Promise.resolve([run('running')]);
    const ended = vi.fn();
    const watch = new EvaluationWatch({ getEvaluation, listEvaluations } as unknown as Client, ended);
    await watch.open();
    expect(watch.active?.id).toBe('e');
    await vi.advanceTimersByTimeAsync(5000);
    expect(getEvaluation).toHaveBeenCalledTimes(3);
    expect(watch.active).toBeNull();
    expect(ended).toHaveBeenCalledOnce();
    vi.useRealTimers();
  });

  it('lets one go, shows the next, and brings it back', async () => {
    const run = (id: string) => ({ id, status: 'finished', names: ['Dot'] }) as unknown as EvaluationSummary;
    let ids = ['b', 'a'];
    const fake = {
      listEvaluations: () => Promise.resolve(ids.map(run)),
      getEvaluation: (id: string) => Promise.resolve({ run: run(id) } as EvaluationDetail),
      deleteEvaluation: (id: string) => Promise.resolve(void (ids = ids.filter((known) => known !== id))),
      restoreEvaluation: (id: string) => Promise.resolve(void (ids = [...ids, id].sort().reverse())),
    };
    const watch = new EvaluationWatch(fake as unknown as Client, () => {});
    await watch.open();
    const undo = await watch.remove('b');
    expect([watch.shown?.run.id, watch.runs.length]).toEqual(['a', 1]);
    const undoLast = await watch.remove('a');
    expect([watch.shown, watch.runs.length]).toEqual([null, 0]);
    await undoLast();
    await undo();
    expect([watch.shown?.run.id, watch.runs.map(({ id }) => id)]).toEqual(['b', ['b', 'a']]);
  });
});

it('moves by rows, by what is in view, and to the ends', () => {
  const of = { total: 90, row: 28, height: 280 };
  const step = (key: string, held: Partial<KeyboardEvent> = {}) =>
    keyStep({ key, ...held } as KeyboardEvent, of);
  expect([step('ArrowUp'), step('PageDown'), step('Home'), step('End')]).toEqual([-1, 9, -90, 90]);
  expect([step('a'), step('ArrowUp', { ctrlKey: true })]).toEqual([undefined, undefined]);
});
