import { mount, unmount } from 'svelte';
import { afterEach, expect, it, vi } from 'vitest';
import type { ChatSession } from '../../lib/chat/session.svelte';
import type { CharacterSummary } from '../../lib/ipc/bindings/CharacterSummary';
import type { MessageItem } from '../../lib/ipc/bindings/MessageItem';
import MessageRow from './MessageRow.svelte';

const app = vi.hoisted(() => ({ attempt: vi.fn(), client: { characterPicture: () => '' } }));
vi.mock('../../lib/app.svelte', () => ({ useApp: () => app }));
let row: ReturnType<typeof mount>;
afterEach(() => unmount(row));

function show(isEdited: boolean): string {
  const message = { id: 'r', isUser: false, text: 'Woof', status: 'complete', alternatives: ['r'], isEdited };
  const session = { edits: new Map(), errors: {}, thread: ['r'], activeMessageId: null, isBusy: false };
  const props = {
    session: session as unknown as ChatSession,
    message: message as unknown as MessageItem,
    character: { id: 'c', name: 'Bo', portrait: null } as unknown as CharacterSummary,
    enlarge: () => {},
  };
  row = mount(MessageRow, { target: document.body, props });
  return document.querySelector('[data-testid=message-edited]')?.textContent ?? '';
}

it('says of an edited message that it was edited', () => {
  expect(show(true)).toBe('Edited');
});

it('says nothing of one that is as it was made', () => {
  expect(show(false)).toBe('');
});
