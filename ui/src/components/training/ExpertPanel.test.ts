import { flushSync, mount, unmount } from 'svelte';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { RefineNumbers } from '../../lib/ipc/bindings/RefineNumbers';
import { ids } from '../../lib/testids';
import { groups } from '../../lib/training/refine';
import ExpertPanel from './ExpertPanel.svelte';

const app = vi.hoisted(() => ({ current: {} }));
vi.mock('../../lib/app.svelte', () => ({ useApp: () => app.current }));

const defaults = { rule: 'cps', guard: false, epochs: 40, noise: 0.8 } as RefineNumbers;
const change = vi.fn<(settings: RefineNumbers) => void>();
let panel: ReturnType<typeof mount>;

const field = <T extends HTMLElement>(key: string) => document.querySelector<T>(`[data-setting=${key}]`);
const answer = (element: HTMLElement | null) =>
  element?.dispatchEvent(new Event('change', { bubbles: true }));

beforeEach(() => {
  vi.clearAllMocks();
  const tell = vi.fn();
  app.current = { tell };
  const settings = { ...defaults, noise: 0.5 };
  const props = { groups, settings, defaults, seed: 1, change, changeSeed: () => undefined };
  panel = mount(ExpertPanel<RefineNumbers>, { target: document.body, props });
});
afterEach(() => unmount(panel));

it('changes choices, switches and numbers, and brings a default back', () => {
  const rule = field<HTMLSelectElement>('rule');
  expect([...(rule?.options ?? [])].map((option) => option.text.trim())).toEqual(['CPS', 'SDE']);
  if (rule) rule.value = 'sde';
  answer(rule);
  expect(change).toHaveBeenLastCalledWith({ ...defaults, noise: 0.5, rule: 'sde' });
  const guard = field<HTMLInputElement>('guard');
  if (guard) guard.checked = true;
  answer(guard);
  expect(change).toHaveBeenLastCalledWith({ ...defaults, noise: 0.5, guard: true });
  const epochs = field<HTMLInputElement>('epochs');
  if (epochs) epochs.value = '';
  answer(epochs);
  expect(change).toHaveBeenLastCalledWith({ ...defaults, noise: 0.5 });
  field('noise')?.closest('.setting')?.querySelector('button')?.click();
  expect(change).toHaveBeenLastCalledWith(defaults);
});

it('explains every setting when asked, with its default and what it takes', () => {
  expect(document.querySelectorAll('.setting p.soft')).toHaveLength(0);
  document.querySelector<HTMLElement>(`[data-testid=${ids.settingExplain}]`)?.click();
  flushSync();
  const explained = [...document.querySelectorAll('.setting p.soft')].map((p) => p.textContent);
  expect(explained).toHaveLength(groups.flatMap((g) => g.fields).length);
  const text = (key: string) => field(key)?.closest('.setting')?.querySelector('p.soft')?.textContent;
  expect(text('epochs')).toContain('Default: 40, at least 1');
  expect(text('rule')).toContain('Default: CPS');
  expect(text('guard')).toContain('Default: off');
});

it('says at the field what it takes, when it holds something else', () => {
  const missed = (key: string) => field(key)?.closest('.setting')?.querySelector('[role=alert]')?.textContent;
  expect([missed('epochs'), field('epochs')?.getAttribute('aria-invalid')]).toEqual([undefined, 'false']);
  void unmount(panel);
  const settings = { ...defaults, epochs: 0 };
  const props = { groups, settings, defaults, seed: 1, change, changeSeed: () => undefined };
  panel = mount(ExpertPanel<RefineNumbers>, { target: document.body, props });
  expect([missed('epochs'), field('epochs')?.getAttribute('aria-invalid')]).toEqual(['at least 1', 'true']);
});
