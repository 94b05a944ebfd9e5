import { beforeEach, expect, it, vi } from 'vitest';
import { menu, whereItFits } from './menu';

let details: HTMLDetailsElement;

beforeEach(() => {
  document.body.innerHTML = '<details open><summary>Menu</summary><p>Inside</p></details><p id="out">Out</p>';
  details = document.querySelector('details') as HTMLDetailsElement;
});

const press = (selector: string) =>
  document.querySelector(selector)?.dispatchEvent(new Event('pointerdown', { bubbles: true }));

it('closes on a press outside, not on one inside', () => {
  const { destroy } = menu(details);
  press('details p');
  expect(details.open).toBe(true);
  press('#out');
  expect(details.open).toBe(false);
  destroy();
});

it('closes on Escape and gives the focus back', () => {
  const { destroy } = menu(details);
  document.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape' }));
  expect(details.open).toBe(false);
  destroy();
  details.open = true;
  press('#out');
  expect(details.open).toBe(true);
});

it('gives the focus back once something was chosen, and takes it from nobody', () => {
  document.body.insertAdjacentHTML('beforeend', '<input />');
  const { destroy } = menu(details);
  const close = () => {
    details.open = false;
    details.dispatchEvent(new Event('toggle'));
  };
  close(); // what was pressed within is gone
  expect(document.activeElement?.tagName).toBe('SUMMARY');
  document.querySelector('input')?.focus();
  close();
  expect(document.activeElement?.tagName).toBe('INPUT');
  destroy();
});

it('listens only while it is open', () => {
  const listens = vi.spyOn(document, 'addEventListener');
  details.open = false;
  const { destroy } = menu(details);
  expect(listens).not.toHaveBeenCalled();
  details.open = true;
  details.dispatchEvent(new Event('toggle'));
  press('#out');
  expect(details.open).toBe(false);
  destroy();
});

it('lets a card open below where the list around it would cut it off', () => {
  document.body.innerHTML = '<div role="log"><div class="card"></div></div>';
  const [list, card] = ['[role=log]', '.card'].map((s) => document.querySelector(s) as HTMLElement);
  const isBelow = (listTop: number, cardTop: number) => {
    if (!list || !card) return null;
    list.getBoundingClientRect = () => ({ top: listTop }) as DOMRect;
    card.getBoundingClientRect = () => ({ top: cardTop }) as DOMRect;
    whereItFits(card);
    return card.classList.contains('below');
  };
  expect([isBelow(100, 99), isBelow(100, 100), isBelow(0, -5)]).toEqual([true, false, true]);
});
