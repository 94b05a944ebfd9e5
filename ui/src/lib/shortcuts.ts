/** Keys of the whole window, in one list: the handler and the sheet read it. */
import type { Key } from './messages/en';

export type ShortcutName =
  | 'palette'
  | 'sheet'
  | 'newChat'
  | 'search'
  | 'inspector'
  | 'zoomIn'
  | 'zoomOut'
  | 'zoomReset'
  | 'place1'
  | 'place2'
  | 'place3'
  | 'place4'
  | 'place5';

export type Shortcut = { name: ShortcutName; keys: string; words: Key; isPlain?: boolean; match: string[] };

/** `match` are values of `KeyboardEvent.key`; all but `isPlain` ones want Ctrl or Cmd. */
export const shortcuts: Shortcut[] = [
  { name: 'palette', keys: 'Ctrl K', words: 'palette', match: ['k'] },
  { name: 'sheet', keys: '?', words: 'shortcuts', isPlain: true, match: ['?'] },
  { name: 'newChat', keys: 'Ctrl N', words: 'newChat', match: ['n'] },
  { name: 'search', keys: 'Ctrl F', words: 'search', match: ['f'] },
  { name: 'inspector', keys: 'Ctrl .', words: 'inspectorFold', match: ['.'] },
  { name: 'zoomIn', keys: 'Ctrl +', words: 'zoomIn', match: ['+', '='] },
  { name: 'zoomOut', keys: 'Ctrl −', words: 'zoomOut', match: ['-', '_'] },
  { name: 'zoomReset', keys: 'Ctrl 0', words: 'zoomReset', match: ['0'] },
  { name: 'place1', keys: 'Ctrl 1', words: 'goPlace', match: ['1'] },
  { name: 'place2', keys: 'Ctrl 2', words: 'goPlace', match: ['2'] },
  { name: 'place3', keys: 'Ctrl 3', words: 'goPlace', match: ['3'] },
  { name: 'place4', keys: 'Ctrl 4', words: 'goPlace', match: ['4'] },
  { name: 'place5', keys: 'Ctrl 5', words: 'goPlace', match: ['5'] },
];

/** Keys of the chat, for the sheet; the chat handles them itself. */
export const chatKeys: { keys: string; words: Key }[] = [
  { keys: 'Enter', words: 'send' },
  { keys: 'Shift Enter', words: 'lineBreak' },
  { keys: 'Esc', words: 'stop' },
  { keys: 'Alt ← / →', words: 'swipeKeys' },
  { keys: 'Alt ↑', words: 'editLast' },
];

/** Keys of the gallery's pictures, for the sheet; they handle them themselves. */
export const galleryKeys: { keys: string; words: Key }[] = [
  { keys: '← / → / ↑ / ↓', words: 'galleryMove' },
  { keys: 'Enter', words: 'openPicture' },
  { keys: 'Space', words: 'gallerySelect' },
  { keys: 'F', words: 'galleryFavourite' },
  { keys: '1…5', words: 'galleryRating' },
  { keys: 'Esc', words: 'close' },
];

/** Keys of a curve, for the sheet; it handles them itself. */
export const curveKeys: { keys: string; words: Key }[] = [
  { keys: '← / →', words: 'curveMove' },
  { keys: '↑ / ↓', words: 'curveMarks' },
  { keys: 'PgUp / PgDn', words: 'curveStride' },
  { keys: 'Home / End', words: 'curveEnds' },
];

/** Keys of the material browser, for the sheet; it handles them itself. */
export const materialKeys: { keys: string; words: Key }[] = [
  { keys: '/', words: 'search' },
  { keys: '↑ / ↓', words: 'materialMove' },
  { keys: 'Enter', words: 'materialOpen' },
  { keys: 'Esc', words: 'close' },
];

export const isField = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement &&
  (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));

/** Whether a key belongs to an input method that is composing a character (229). */
export const isComposing = (event: KeyboardEvent): boolean => event.isComposing || event.keyCode === 229;

/** The shortcut that a key press means, if any. A plain one never takes a letter from a text field. */
export function shortcutOf(event: KeyboardEvent): ShortcutName | null {
  if (isComposing(event) || event.altKey) return null;
  const hasModifier = event.ctrlKey || event.metaKey;
  const key = event.key.toLowerCase();
  const found = shortcuts.find((shortcut) =>
    shortcut.isPlain
      ? !hasModifier && shortcut.match.includes(key) && !isField(event.target)
      : hasModifier && shortcut.match.includes(key),
  );
  return found?.name ?? null;
}
