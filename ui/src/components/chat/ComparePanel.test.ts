import { flushSync, mount, unmount } from 'svelte';
import { beforeEach, expect, it, vi } from 'vitest';
import { closeAsking, openAsking } from '../../lib/chat/compare.svelte';
import type { ChatSession } from '../../lib/chat/session.svelte';
import { ids } from '../../lib/testids';
import ComparePanel from './ComparePanel.svelte';

const app = vi.hoisted(() => ({
  characters: [{ id: 'dot', name: 'Dot' }],
  attempt: (work: () => Promise<void>) => work(),
}));
vi.mock('../../lib/app.svelte', () => ({ useApp: () => app }));
const client = { getCharacter: () => Promise.resolve({ adapters: [] }) };
const session = { id: 'c', characterId: 'dot', draft: 'Hello', client } as unknown as ChatSession;
const field = () =>
  document.querySelector(`[data-testid=${ids.compareText}]`) as unknown as HTMLTextAreaElement;
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
