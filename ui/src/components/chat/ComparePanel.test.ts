import { flushSync, mount, unmount } from 'svelte';
import { beforeEach, expect, it, vi } from 'vitest';
import { closeAsking, openAsking } from '../../lib/chat/compare.svelte';
import type { ChatSession } from '../../lib/chat/session.svelte';
import type { Client } from '../../lib/ipc/client';
import { ids } from '../../lib/testids';
import ComparePanel from './ComparePanel.svelte';

const app = vi.hoisted(() => ({
  characters: [
    { id: 'dot', name: 'Dot' },
    { id: 'bo', name: 'Bo' },
  ],
  attempt: (work: () => Promise<void>) => work(),
}));
vi.mock('../../lib/app.svelte', () => ({ useApp: () => app }));
const compare: Client['compare'] = (_, on) => {
  on({ type: 'textDelta', side: 0, delta: 'I am Dot.' });
  on({ type: 'done' });
  return Promise.resolve('g');
};
const client = {
  getCharacter: () => Promise.resolve({ adapters: [{ name: 'a', stage: 'sft', step: 1 }] }),
  compare,
};
const session = { id: 'c', characterId: 'dot', draft: 'Hello', client } as unknown as ChatSession;
const find = <E extends HTMLElement>(selector: string) => document.querySelector(selector) as unknown as E;
const field = () => find<HTMLTextAreaElement>(`[data-testid=${ids.compareText}]`);
const show = (shown: ChatSession = session) => {
  const panel = mount(ComparePanel, { target: document.body, props: { session: shown, close: () => {} } });
  flushSync();
  return panel;
};

beforeEach(() => closeAsking('c'));

it('has its text again after another place was shown, until it is closed', async () => {
  let panel = show();
  expect(field().value).toBe('Hello');
  field().value = 'Who are you?';
  field().dispatchEvent(new Event('input', { bubbles: true }));
  flushSync();
  await unmount(panel);
  panel = show();
  expect(field().value).toBe('Who are you?');
  await unmount(panel);
  panel = show({ ...session, id: 'other' } as ChatSession);
  expect(field().value, 'another chat').toBe('Hello');
  await unmount(panel);
  closeAsking('c');
  expect(openAsking('c')).toBeUndefined();
  panel = show();
  expect(field().value).toBe('Hello');
  await unmount(panel);
});

it.each([
  ['character', 'Side 1: character', 'Bo'],
  ['adapter', 'Side 1: adapter', 'bare base model'],
])('lets the answers go when a side gets another %s', async (_, label, wanted) => {
  const panel = show();
  const select = () => find<HTMLSelectElement>(`select[aria-label="${label}"]`);
  await vi.waitFor(() => expect(select().options.length).toBe(2));
  find(`[data-testid=${ids.compareRun}]`).click();
  await vi.waitFor(() => expect(document.body.textContent).toContain('I am Dot.'));
  for (const option of select().options) option.selected = option.text === wanted;
  select().dispatchEvent(new Event('change', { bubbles: true }));
  await vi.waitFor(() => expect(document.body.textContent).not.toContain('I am Dot.'));
  expect(select().selectedOptions[0]?.text).toBe(wanted);
  await unmount(panel);
});
