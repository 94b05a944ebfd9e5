import { expect, it } from 'vitest';
import { shortcutOf, shortcuts } from './shortcuts';

function press(
  key: string,
  more: KeyboardEventInit = {},
  target: HTMLElement = document.body,
): string | null {
  let found: string | null = null;
  const listen = (event: KeyboardEvent) => (found = shortcutOf(event));
  document.addEventListener('keydown', listen);
  target.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, ...more }));
  document.removeEventListener('keydown', listen);
  return found;
}

it('knows its keys with Ctrl and Cmd alike', () => {
  expect(press('k', { ctrlKey: true })).toBe('palette');
  expect(press('K', { metaKey: true })).toBe('palette');
  expect(press('k')).toBeNull();
  expect(press('?')).toBe('sheet');
});

it('takes nothing from a text field or an input method', () => {
  const field = document.body.appendChild(document.createElement('textarea'));
  expect(press('?', {}, field)).toBeNull();
  expect(press('k', { ctrlKey: true }, field)).toBe('palette');
  expect(press('k', { ctrlKey: true, isComposing: true }, field)).toBeNull();
});

it('uses no key twice', () => {
  const keys = shortcuts.flatMap((shortcut) => shortcut.match);
  expect(new Set(keys).size).toBe(keys.length);
});
