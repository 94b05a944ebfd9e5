import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { ChatDetail } from '../ipc/bindings/ChatDetail';
import type { ChatEvent } from '../ipc/bindings/ChatEvent';
import type { MessageItem } from '../ipc/bindings/MessageItem';
import type { Client } from '../ipc/client';
import { asApiError } from '../ipc/client';
import { chatSessions, MAX_RESTING } from './sessions';

const message = (id: string, isUser: boolean): MessageItem =>
  ({ id, parentId: isUser ? null : 'u', isUser, text: '', status: 'streaming' }) as MessageItem;

/** A studio whose replies are played by the test through `emit`. */
function studio() {
  let emit: (event: ChatEvent) => void = () => {};
  const thread: string[] = [];
  const getChat = vi.fn<Client['getChat']>((id) =>
    Promise.resolve({
      chat: { id, characterId: 'x', title: '' },
      thread: [...thread],
      messages: thread.map((known) => message(known, false)),
      settings: { pictureMode: 'never' },
    } as unknown as ChatDetail),
  );
  const client = {
    getChat,
    getMessages: () => Promise.resolve([]),
    sendMessage: (_: unknown, on: (event: ChatEvent) => void) => {
      emit = on;
      return Promise.resolve({
        generationId: 'g',
        userMessage: message('u', true),
        reply: message('r', false),
      });
    },
  } as unknown as Client;
  return { client, getChat, thread, emit: (event: ChatEvent) => emit(event) };
}

/** Opens so many other chats that one at rest is let go. */
async function openOthers(client: Client) {
  for (let n = 0; n <= MAX_RESTING; n += 1) await chatSessions(client).open(`other${n}`);
}

beforeEach(() => localStorage.clear());

describe('the chats that were opened', () => {
  it('go on with a reply while another place is shown', async () => {
    const { client, emit } = studio();
    const settled = vi.fn();
    const session = await chatSessions(client).open('c');
    await session.send('Hello?');
    await openOthers(client);
    chatSessions(client).onSettled = settled;

    const again = await chatSessions(client).open('c');
    expect(again.isBusy).toBe(true);
    expect(again.thread).toEqual(['u', 'r']);
    emit({ type: 'textDelta', messageId: 'r', delta: 'To the leaf.' });
    expect(again.last?.text).toBe('To the leaf.');
    emit({ type: 'done', message: { ...message('r', false), status: 'complete' } });
    expect(again.isBusy).toBe(false);
    expect(settled).toHaveBeenCalledExactlyOnceWith(again);
  });

  it('keep texts that are being changed, and why a reply failed', async () => {
    const { client, emit } = studio();
    const edited = await chatSessions(client).open('edited');
    edited.edits.set('m', 'half a thou');
    const failed = await chatSessions(client).open('failed');
    await failed.send('Hello?');
    emit({ type: 'failed', message: null, error: asApiError(new Error('the model is gone')) });
    await openOthers(client);
    expect((await chatSessions(client).open('edited')).edits.get('m')).toBe('half a thou');
    expect((await chatSessions(client).open('failed')).errors.r?.message).toContain('the model is gone');
  });

  it('are the same for an undo, and tell what changed meanwhile', async () => {
    const { client, thread } = studio();
    const session = await chatSessions(client).open('c');
    await chatSessions(client).open('other');
    thread.push('r');
    expect(await chatSessions(client).open('c')).toBe(session);
    expect(session.thread).toEqual(['r']);
  });

  it('are let go when they rest', async () => {
    const { client } = studio();
    const session = await chatSessions(client).open('c');
    await openOthers(client);
    expect(await chatSessions(client).open('c')).not.toBe(session);
  });
});
