import { beforeEach, expect, it, vi } from 'vitest';
import { tabKey } from './tabs';

const shown = vi.fn();

beforeEach(() => {
  shown.mockClear();
  document.body.innerHTML = `<div role="tablist">${['a', 'b', 'c']
    .map((id) => `<button role="tab" id="${id}">${id}</button>`)
    .join('')}</div>`;
  const list = document.querySelector('div');
  list?.addEventListener('keydown', (event) => tabKey(event as Parameters<typeof tabKey>[0]));
  list?.addEventListener('click', (event) => shown((event.target as HTMLElement).id));
});

function press(from: string, key: string, ctrlKey = false): string | undefined {
  const tab = document.getElementById(from);
  tab?.focus();
  tab?.dispatchEvent(new KeyboardEvent('keydown', { key, ctrlKey, bubbles: true, cancelable: true }));
  return document.activeElement?.id;
}

it('leads round and round, and shows what it leads to', () => {
  expect([press('a', 'ArrowRight'), press('a', 'ArrowLeft'), press('c', 'ArrowRight')]).toEqual([
    'b',
    'c',
    'a',
  ]);
  expect([press('b', 'Home'), press('b', 'End')]).toEqual(['a', 'c']);
  expect(shown.mock.calls.flat()).toEqual(['b', 'c', 'a', 'a', 'c']);
});

it('leaves other keys and those of the window alone', () => {
  expect([press('a', 'ArrowDown'), press('a', 'ArrowRight', true)]).toEqual(['a', 'a']);
  expect(shown).not.toHaveBeenCalled();
});
