import { flushSync, mount, unmount } from 'svelte';
import { afterEach, beforeEach, expect, it } from 'vitest';
import CurvePlot from './CurvePlot.svelte';

const held = [
  { x: 20, y: 2.5 },
  { x: 40, y: 2.25 },
];
let plot: ReturnType<typeof mount>;

beforeEach(() => {
  const train = [10, 20, 30, 40].map((x) => ({ x, y: 3 }));
  const props = { title: 'Text', train, held, mark: held[1], heldWords: 'kept back', checkpoints: [30] };
  plot = mount(CurvePlot, { target: document.body, props });
});
afterEach(() => unmount(plot));

function press(key: string): string | null {
  const slider = document.querySelector('svg');
  slider?.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
  flushSync();
  return slider?.getAttribute('aria-valuetext') ?? null;
}

it('reads dots and checkpoints by key, with step and value', () => {
  expect(press('End')).toBe('step 40: 3.000, smoothed 3.000 · kept back: 2.250 · the best');
  expect(press('ArrowDown')).toBe('step 30: 3.000, smoothed 3.000 · a checkpoint');
  expect(press('ArrowDown')).toBe('step 20: 3.000, smoothed 3.000 · kept back: 2.500');
  expect(press('ArrowLeft')).toBe('step 10: 3.000, smoothed 3.000');
  expect(document.querySelector('.marks')?.textContent?.trim()).toBe('');
  press('ArrowUp');
  expect(document.querySelector('.marks')?.textContent?.trim()).toBe('kept back: 2.500');
  expect(document.querySelector('circle.read')?.getAttribute('r')).toBe('6');
});
