import { flushSync, mount, unmount } from 'svelte';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { DeletedItem } from '../../lib/ipc/bindings/DeletedItem';
import { ids } from '../../lib/testids';
import DeletedDialog from './DeletedDialog.svelte';

const chat = (id: string): DeletedItem => ({
  kind: 'chat',
  id,
  title: `Chat ${id}`,
  owner: 'Dot',
  numMessages: 4,
  stage: null,
  madeMs: null,
  deletedMs: Date.now(),
  sizeBytes: null,
});
let items: DeletedItem[];
const gone = (id: string) => {
  items = items.filter((item) => item.id !== id);
  return Promise.resolve(null);
};
const client = {
  deletedItems: vi.fn(() => Promise.resolve({ items, keptDays: 30 })),
  restoreChat: vi.fn(gone),
  discardItems: vi.fn((all: { id: string }[]) => Promise.all(all.map(({ id }) => gone(id)))),
};
const app = vi.hoisted(() => ({ current: {} as Record<string, unknown> }));
vi.mock('../../lib/app.svelte', () => ({ useApp: () => app.current }));
const renew = vi.fn(() => Promise.resolve());
let dialog: ReturnType<typeof mount>;
const find = (id: string) => document.querySelector<HTMLElement>(`[data-testid=${id}]`);
const rows = () => [...document.querySelectorAll<HTMLElement>(`[data-testid=${ids.deletedItem}]`)];
const named = () => rows().map((row) => row.dataset.id);

beforeEach(async () => {
  vi.clearAllMocks();
  HTMLDialogElement.prototype.showModal = () => {};
  items = ['a', 'b', 'c'].map(chat);
  app.current = { client, isDeletedOpen: true, renew, attempt: (work: () => Promise<void>) => work() };
  dialog = mount(DeletedDialog, { target: document.body });
  await vi.waitFor(() => expect(named()).toEqual(['a', 'b', 'c']));
});
afterEach(() => unmount(dialog));

const close = () => find(ids.deletedDialog)?.dispatchEvent(new Event('close'));

it('brings one back, goes to the next, and shows everything anew when it closes', async () => {
  const button = rows()[1]?.querySelector<HTMLElement>(`[data-testid=${ids.deletedRestore}]`);
  button?.focus();
  button?.click();
  await vi.waitFor(() => expect(named()).toEqual(['a', 'c']));
  expect(client.restoreChat).toHaveBeenCalledWith('b');
  await vi.waitFor(() => expect(document.activeElement).toBe(rows()[1]?.querySelector('[data-restore]')));
  expect(document.querySelector('[role=status]')?.textContent).toContain('“Chat b” is back');
  expect(renew).not.toHaveBeenCalled();
  close();
  expect(renew).toHaveBeenCalledOnce();
  expect(app.current.isDeletedOpen).toBe(false);
});

it('asks before anything goes for good', async () => {
  find(ids.deletedDiscard)?.click();
  flushSync();
  expect(find(ids.confirm)?.textContent).toContain('Delete “Chat a” for good?');
  expect(client.discardItems).not.toHaveBeenCalled();
  find(ids.confirmAct)?.click();
  await vi.waitFor(() => expect(named()).toEqual(['b', 'c']));
  find(ids.deletedEmpty)?.click();
  flushSync();
  expect(find(ids.confirm)?.textContent).toContain('Delete 2 things for good?');
  find(ids.confirmAct)?.click();
  await vi.waitFor(() =>
    expect(find(ids.deletedDialog)?.textContent).toContain('Nothing was deleted lately'),
  );
  expect(find(ids.deletedEmpty)).toBeNull();
  close();
  expect(renew, 'nothing came back').not.toHaveBeenCalled();
});
