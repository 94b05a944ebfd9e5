import { tick } from 'svelte';
import { beforeEach, expect, it, vi } from 'vitest';
import { closedFromOutside, modal } from './modal';

let dialog: HTMLDialogElement;

beforeEach(() => {
  document.body.innerHTML = '<main id="main" tabindex="-1"><button id="opener"></button></main>';
  dialog = document.createElement('dialog');
  dialog.innerHTML = '<button id="within"></button>';
  document.body.append(dialog);
  dialog.showModal = () => document.getElementById('within')?.focus();
  dialog.close = vi.fn();
});

async function closed(back: () => void): Promise<string | undefined> {
  dialog.remove();
  back();
  await tick();
  await Promise.resolve();
  return document.activeElement?.id;
}

it('gives the focus back to what opened it', async () => {
  document.getElementById('opener')?.focus();
  const back = modal(dialog);
  expect(document.activeElement?.id).toBe('within');
  expect(await closed(back)).toBe('opener');
});

it('gives it to the view where what opened it is gone', async () => {
  const opener = document.getElementById('opener');
  opener?.focus();
  const back = modal(dialog);
  opener?.remove();
  expect(await closed(back)).toBe('main');
});

it('takes the focus from nobody', async () => {
  document.getElementById('opener')?.focus();
  const back = modal(dialog);
  document.body.insertAdjacentHTML('beforeend', '<input id="newer" />');
  document.getElementById('newer')?.focus();
  expect(await closed(back)).toBe('newer');
});

it('is closed by a press beside it, not within', () => {
  dialog.getBoundingClientRect = () => new DOMRect(100, 100, 200, 100);
  closedFromOutside(dialog);
  const press = (target: Element | null, clientX: number) =>
    target?.dispatchEvent(new MouseEvent('pointerdown', { clientX, clientY: 150, bubbles: true }));
  press(dialog, 150);
  press(document.getElementById('within'), 20);
  expect(dialog.close).not.toHaveBeenCalled();
  press(dialog, 20);
  expect(dialog.close).toHaveBeenCalledOnce();
});
