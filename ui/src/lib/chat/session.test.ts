import { describe, expect, it, vi } from 'vitest';
import type { ChatDetail } from '../ipc/bindings/ChatDetail';
import type { ChatEvent } from '../ipc/bindings/ChatEvent';
import type { MessageItem } from '../ipc/bindings/MessageItem';
import type { Client } from '../ipc/client';
import { ChatSession } from './session.svelte';

function message(id: string, isUser: boolean, more: Partial<MessageItem> = {}): MessageItem {
  return {
    id,
    parentId: null,
    isUser,
    text: '',
    status: 'streaming',
    picture: null,
    alternatives: [id],
    createdMs: 0,
    ...more,
  } as MessageItem;
}

function chat(messages: MessageItem[] = []): ChatDetail {
  return {
    chat: { id: 'c', characterId: 'x', title: '', updatedMs: 0 },
    messages,
  } as unknown as ChatDetail;
}

/** A session whose engine is played by the test through `emit`. */
function played(messages: MessageItem[] = []) {
  let emit: (event: ChatEvent) => void = () => {};
  const started = {
    generationId: 'g',
    userMessage: message('u', true, { text: 'Hello?', status: 'complete' }),
    reply: message('r', false, { parentId: 'u' }),
  };
  const client = {
    sendMessage: vi.fn((_: unknown, on: (event: ChatEvent) => void) => {
      emit = on;
      on({ type: 'phase', label: 'thinking' });
      return Promise.resolve(started);
    }),
    stopGeneration: vi.fn(() => Promise.resolve()),
  };
  const settled = vi.fn();
  const session = new ChatSession(client as unknown as Client, chat(messages), settled);
  return { session, client, settled, emit: (event: ChatEvent) => emit(event) };
}

describe('a chat session', () => {
  it('shows text as it comes and settles when the reply is whole', async () => {
    const { session, settled, emit } = played();
    await session.send('Hello?', 'always');
    expect(session.isBusy).toBe(true);
    expect(session.phase).toBe('thinking'); // it overtook the answer that named the generation
    emit({ type: 'textDelta', messageId: 'r', delta: 'To the ' });
    emit({ type: 'textDelta', messageId: 'r', delta: 'leaf.' });
    expect(session.chat.messages.map((m) => m.text)).toEqual(['Hello?', 'To the leaf.']);
    emit({ type: 'pictureProgress', messageId: 'r', step: 2, numSteps: 20, etaSecs: 1, preview: 'data:,' });
    emit({ type: 'pictureProgress', messageId: 'r', step: 3, numSteps: 20, etaSecs: 1, preview: null });
    expect(session.drawing).toEqual({ step: 3, numSteps: 20, etaSecs: 1, preview: 'data:,' });
    const whole = message('r', false, { parentId: 'u', text: 'To the leaf.', status: 'complete' });
    emit({ type: 'done', message: whole });
    expect(session.isBusy).toBe(false);
    expect(session.drawing).toBeNull();
    expect(settled).toHaveBeenCalledOnce();
  });

  it('keeps what was written when it fails, with the reason beside it', async () => {
    const { session, emit } = played();
    await session.send('Hello?', 'always');
    emit({ type: 'textDelta', messageId: 'r', delta: 'To' });
    const error = { code: 'model', message: 'the model is gone', hint: 'bring it back' } as const;
    emit({ type: 'failed', message: null, error });
    expect(session.chat.messages.at(-1)?.text).toBe('To');
    expect(session.errors.r?.message).toBe('the model is gone');
    expect(session.isBusy).toBe(false);
  });

  it('sends nothing while a reply is being made, and stops it by name', async () => {
    const { session, client } = played();
    await session.send('Hello?', 'always');
    await session.send('Hello again?', 'always');
    expect(client.sendMessage).toHaveBeenCalledOnce();
    await session.stop();
    expect(client.stopGeneration).toHaveBeenCalledWith('g');
  });

  it('is free again when the message could not be sent', async () => {
    const { session, client } = played();
    client.sendMessage.mockReturnValueOnce(Promise.reject(new Error('queue is full')));
    await expect(session.send('Hello?', 'always')).rejects.toThrow('queue is full');
    expect(session.isBusy).toBe(false);
  });
});
