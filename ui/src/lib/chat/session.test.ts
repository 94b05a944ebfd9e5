import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { ChatDetail } from '../ipc/bindings/ChatDetail';
import type { ChatEvent } from '../ipc/bindings/ChatEvent';
import type { MessageItem } from '../ipc/bindings/MessageItem';
import { asApiError, type Client } from '../ipc/client';
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

const settings = {
  pictureMode: 'always',
  preset: 'balanced',
  userName: '',
  userPersona: '',
  authorNote: '',
} as const;

function chat(messages: MessageItem[] = []): ChatDetail {
  return {
    chat: { id: 'c', characterId: 'x', title: '', updatedMs: 0, isPinned: false },
    thread: messages.map((m) => m.id),
    messages,
    settings: { ...settings },
  };
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
    regenerate: vi.fn((id: string, _what: string, _seed: null, on: (event: ChatEvent) => void) => {
      emit = on;
      return Promise.resolve({ generationId: 'g', userMessage: null, reply: message(id, false) });
    }),
    sendMessage: vi.fn((_: unknown, on: (event: ChatEvent) => void) => {
      emit = on;
      on({ type: 'phase', label: '', kind: 'reading', numTokens: 310 });
      return Promise.resolve(started);
    }),
    stopGeneration: vi.fn(() => Promise.resolve()),
    setChatSettings: vi.fn<(id: string, settings: unknown) => Promise<void>>(() => Promise.resolve()),
    deleteMessage: vi.fn(() => Promise.resolve(chat())),
    restoreMessage: vi.fn(() => Promise.resolve(chat([message('r', false)]))),
    selectAlternative: vi.fn((id: string) => Promise.resolve(chat([message(id, false)]))),
    getMessages: vi.fn((ids: string[]) =>
      Promise.resolve(ids.map((id) => message(id, false, { text: `${id}!` }))),
    ),
    editMessage: vi.fn((id: string, text: string) => Promise.resolve(message(id, false, { text }))),
    attachPicture: vi.fn(() => Promise.resolve('a.png')),
    attachDrawn: vi.fn(() => Promise.resolve('drawn.png')),
    attachedPicture: (name: string) => `shown/${name}`,
  };
  const settled = vi.fn();
  const session = new ChatSession(client as unknown as Client, chat(messages), settled);
  return { session, client, settled, emit: (event: ChatEvent) => emit(event) };
}

/** What is on the screen, as far as it is there. */
const texts = (session: ChatSession) => session.thread.map((id) => session.message(id)?.text);

beforeEach(() => localStorage.clear());

describe('a chat session', () => {
  it('changes what a message says, and brings the old words back', async () => {
    const { session, client } = played([message('r', false, { text: 'To the leaf.' })]);
    const before = session.treeVersion;
    const undo = await session.edit('r', 'To the well.');
    expect(texts(session)).toEqual(['To the well.']);
    expect(session.treeVersion).toBeGreaterThan(before);
    await undo();
    expect(texts(session)).toEqual(['To the leaf.']);
    expect(client.editMessage).toHaveBeenLastCalledWith('r', 'To the leaf.');
  });

  it('shows text as it comes and settles when the reply is whole', async () => {
    const { session, settled, emit } = played();
    await session.send('Hello?');
    expect(session.isBusy).toBe(true);
    expect(session.phase).toEqual({ kind: 'reading', numTokens: 310 }); // it overtook the answer that named the generation
    emit({ type: 'textDelta', messageId: 'r', delta: 'To the ' });
    emit({ type: 'textDelta', messageId: 'r', delta: 'leaf.' });
    expect(texts(session)).toEqual(['Hello?', 'To the leaf.']);
    emit({ type: 'pictureProgress', messageId: 'r', step: 2, numSteps: 20, etaSecs: 1, preview: 'data:,' });
    emit({ type: 'pictureProgress', messageId: 'r', step: 3, numSteps: 20, etaSecs: 1, preview: null });
    expect(session.drawing).toEqual({ step: 3, numSteps: 20, etaSecs: 1, preview: 'data:,' });
    const whole = message('r', false, { parentId: 'u', text: 'To the leaf.', status: 'complete' });
    emit({ type: 'done', message: whole });
    expect(session.isBusy).toBe(false);
    expect(session.drawing).toBeNull();
    expect(settled).toHaveBeenCalledOnce();
  });

  it('leaves the list alone while a text grows and a picture is drawn', async () => {
    const { session, emit } = played();
    await session.send('Hello?');
    emit({ type: 'textDelta', messageId: 'r', delta: 'To' });
    const { thread, last } = session;
    emit({ type: 'textDelta', messageId: 'r', delta: ' the leaf.' });
    emit({ type: 'pictureProgress', messageId: 'r', step: 2, numSteps: 20, etaSecs: 1, preview: 'data:,' });
    expect(session.thread).toBe(thread);
    expect(session.last).toBe(last);
    expect(last?.text).toBe('To the leaf.');
    const whole = message('r', false, { parentId: 'u', text: 'To the leaf.', status: 'complete' });
    emit({ type: 'pictureDone', message: whole });
    expect(session.thread).toEqual(['u', 'r']);
    expect(session.last).toBe(whole);
  });

  it('goes on with a text that was shown anew in the middle', async () => {
    const { session, emit } = played();
    await session.send('Hello?');
    emit({ type: 'textDelta', messageId: 'r', delta: 'To' });
    await session.restore('r'); // brings a list of its own
    emit({ type: 'textDelta', messageId: 'r', delta: 'day' });
    emit({ type: 'textDelta', messageId: 'r', delta: '.' });
    expect(texts(session)).toEqual(['day.']);
  });

  it('keeps what was written when it fails, with the reason beside it', async () => {
    const { session, emit } = played();
    await session.send('Hello?');
    emit({ type: 'textDelta', messageId: 'r', delta: 'To' });
    const error = {
      code: 'model',
      cause: null,
      values: {},
      message: 'the model is gone',
      hint: 'bring it back',
    } as const;
    emit({ type: 'failed', message: null, error });
    expect(session.last?.text).toBe('To');
    expect(session.errors.r?.message).toBe('the model is gone');
    expect(session.isBusy).toBe(false);
  });

  it.each([
    ['the picture of a text that is whole', { text: 'To the leaf.', status: 'complete' }, 'picture'],
    ['a text that broke off', { text: 'To', status: 'failed' }, 'text'],
    ['all of a reply without a word', { text: '', status: 'failed' }, 'both'],
  ] as const)('asks again for %s', async (_, part, what) => {
    const { session, client, emit } = played();
    await session.send('Hello?');
    const error = asApiError(new Error('no memory is left'));
    emit({ type: 'failed', message: message('r', false, { parentId: 'u', ...part }), error });
    await session.retry('r');
    expect(client.regenerate).toHaveBeenCalledExactlyOnceWith('r', what, null, expect.anything());
    expect(session.errors.r).toBeUndefined();
  });

  it.each(['continue', 'picture'] as const)('asks again for a %s that failed', async (what) => {
    const stopped = message('r', false, { text: 'To', status: 'stopped' });
    const { session, client, emit } = played([stopped]);
    await session.regenerate('r', what);
    emit({ type: 'failed', message: stopped, error: asApiError(new Error('no memory is left')) });
    await session.retry('r');
    expect(client.regenerate).toHaveBeenLastCalledWith('r', what, null, expect.anything());
  });

  it('knows the person in a new chat by what was said of them last', async () => {
    const { session, client } = played();
    session.introduce();
    await session.flush();
    expect(client.setChatSettings).not.toHaveBeenCalled();
    session.lead({ userName: 'Ada', authorNote: 'It rains.' });
    session.lead({ userPersona: 'a gardener' });

    const next = played();
    next.session.introduce();
    await next.session.flush();
    const known = { ...settings, userName: 'Ada', userPersona: 'a gardener' };
    expect(next.session.settings).toEqual(known);
    expect(next.client.setChatSettings).toHaveBeenCalledWith('c', known);
  });

  it('sends nothing while a reply is being made, and stops it by name', async () => {
    const { session, client } = played();
    await session.send('Hello?');
    await session.send('Hello again?');
    expect(client.sendMessage).toHaveBeenCalledOnce();
    await session.stop();
    expect(client.stopGeneration).toHaveBeenCalledWith('g');
  });

  it('is free again when the message could not be sent', async () => {
    const { session, client } = played();
    client.sendMessage.mockReturnValueOnce(Promise.reject(new Error('queue is full')));
    await expect(session.send('Hello?')).rejects.toThrow('queue is full');
    expect(session.isBusy).toBe(false);
  });

  it('puts what is said anew where the old words were', async () => {
    const old = [
      message('g', false, { text: 'Hi' }),
      message('old', true, { parentId: 'g' }),
      message('x', false, { parentId: 'old' }),
    ];
    const { session, client } = played(old);
    client.sendMessage.mockImplementationOnce(() =>
      Promise.resolve({
        generationId: 'g',
        userMessage: message('u', true, { parentId: 'g', alternatives: ['old', 'u'] }),
        reply: message('r', false, { parentId: 'u' }),
      }),
    );
    await session.send('Hello!', 'old');
    expect(session.thread).toEqual(['g', 'u', 'r']);
    expect(client.sendMessage.mock.calls[0]?.[0]).toMatchObject({ branchOf: 'old', parentId: null });
  });

  it('says anew with the picture of what was said, and leaves that in the composer', async () => {
    const old = [
      message('seen', true, { attachment: 'old.png' }),
      message('x', false, { parentId: 'seen' }),
      message('plain', true, { parentId: 'x', attachment: null }),
    ];
    const { session, client, emit } = played(old);
    await session.attach('AAAA');
    await session.send('Hello!', 'plain');
    emit({ type: 'done', message: message('r', false) });
    await session.send('Look there!', 'seen');
    const sent = client.sendMessage.mock.calls.map(([request]) => request);
    expect(sent).toMatchObject([{ attachment: null }, { attachment: 'old.png' }]);
    expect(session.attachment?.name).toBe('a.png');
  });

  it('keeps a draft over restarts, until it is sent', async () => {
    const { session } = played();
    session.keepDraft('half a thou');
    expect(played().session.draft).toBe('half a thou');
    session.keepDraft('');
    expect(played().session.draft).toBe('');
  });

  it('writes settings once, and always before a message goes out', async () => {
    const { session, client } = played();
    session.lead({ authorNote: 'It r' });
    session.lead({ authorNote: 'It rains.', pictureMode: 'never' });
    expect(client.setChatSettings).not.toHaveBeenCalled();
    await session.send('Hello?');
    expect(client.setChatSettings).toHaveBeenCalledOnce();
    expect(client.setChatSettings.mock.calls[0]?.[1]).toMatchObject({ authorNote: 'It rains.' });
    expect(client.sendMessage.mock.calls[0]?.[0]).toMatchObject({ pictureMode: 'never' });
  });

  it('writes a choice at once, with what was typed before it', () => {
    const { session, client } = played();
    session.lead({ authorNote: 'It rains.' });
    session.lead({ pictureMode: 'never' });
    expect(client.setChatSettings).toHaveBeenCalledOnce();
    const written = client.setChatSettings.mock.calls[0]?.[1];
    expect(written).toMatchObject({ authorNote: 'It rains.', pictureMode: 'never' });
  });

  it('keeps the picture in the composer over a change of place, until it is sent', async () => {
    const { session, emit, client } = played();
    await session.attach('AAAA');
    const again = new ChatSession(client as unknown as Client, chat());
    expect(again.attachment).toEqual({ name: 'a.png', url: 'shown/a.png' });
    const elsewhere = { ...chat(), chat: { ...chat().chat, id: 'other' } };
    expect(new ChatSession(client as unknown as Client, elsewhere).attachment).toBeNull();
    await again.send('Look!');
    emit({ type: 'done', message: message('r', false, { status: 'complete' }) });
    expect(new ChatSession(client as unknown as Client, chat()).attachment).toBeNull();
  });

  it('sends an attached picture once', async () => {
    const { session, client, emit } = played();
    await session.attach('AAAA');
    expect(session.attachment).toEqual({ name: 'a.png', url: 'shown/a.png' });
    await session.send('What is this?');
    expect(client.sendMessage.mock.calls[0]?.[0]).toMatchObject({ attachment: 'a.png' });
    expect(session.attachment).toBeNull();
    emit({ type: 'done', message: message('r', false) });
    await session.send('And now?');
    expect(client.sendMessage.mock.calls[1]?.[0]).toMatchObject({ attachment: null });
  });

  it('takes a picture that was dragged here from elsewhere in the window', async () => {
    const { session, client } = played();
    await session.attachCarried({ picture: 'p1' });
    expect(client.attachDrawn).toHaveBeenCalledWith('p1');
    expect(session.attachment).toEqual({ name: 'drawn.png', url: 'shown/drawn.png' });
    await session.attachCarried({ attachment: 'old.png' });
    expect(session.attachment?.name).toBe('old.png');
  });

  it('swipes within bounds and not while a reply is made', async () => {
    const shown = message('b', false, { alternatives: ['a', 'b'] });
    const { session, client } = played([shown]);
    await session.swipe(shown, 1);
    expect(client.selectAlternative).not.toHaveBeenCalled();
    await session.swipe(shown, -1);
    expect(client.selectAlternative).toHaveBeenCalledWith('a');
    await session.send('Hello?');
    await session.swipe(shown, -1);
    expect(client.selectAlternative).toHaveBeenCalledOnce();
  });

  it('shows what deleting and its undo leave', async () => {
    const { session } = played([message('r', false)]);
    await session.delete('r');
    expect(session.thread).toEqual([]);
    await session.restore('r');
    expect(session.thread).toEqual(['r']);
  });

  it('looks for a message in the tree only when it is not in the thread', async () => {
    const { session, client } = played([message('here', false)]);
    await session.reveal('here');
    expect(client.selectAlternative).not.toHaveBeenCalled();
    await session.reveal('there');
    expect(client.selectAlternative).toHaveBeenCalledWith('there');
    expect(session.wantedId).toBe('there');
  });
});

describe('a long thread', () => {
  const ids = Array.from({ length: 1000 }, (_, n) => `m${n}`);
  /** Its end, as it is told at first. */
  const detail = () => ({ ...chat(ids.slice(-2).map((id) => message(id, id === 'm998'))), thread: ids });

  function opened() {
    const { client } = played();
    const session = new ChatSession(client as unknown as Client, detail());
    return { session, client };
  }

  it('fetches what is looked at, once', async () => {
    const { session, client } = opened();
    expect(session.message('m10')).toBeNull();
    await Promise.all([session.want(-5, 3), session.want(1, 4)]);
    await session.want(0, 4);
    expect(client.getMessages.mock.calls).toEqual([[['m0', 'm1', 'm2']], [['m3']]]);
    expect(session.message('m1')?.text).toBe('m1!');
  });

  it('has what surrounds a message before it is brought into view', async () => {
    const { session } = opened();
    await session.reveal('m500');
    expect(session.wantedId).toBe('m500');
    expect([session.message('m450'), session.message('m550')]).not.toContain(null);
  });

  it('keeps what is on the screen when the thread is told anew', async () => {
    const { session, client } = opened();
    await session.want(300, 303);
    session.looksAt = ['m300', 'm301', 'gone'];
    client.selectAlternative.mockImplementationOnce(() => Promise.resolve(detail()));
    await session.select('m998');
    expect(client.getMessages).toHaveBeenLastCalledWith(['m300', 'm301']);
    expect(session.message('m301')?.text).toBe('m301!');
    expect(session.message('m302')).toBeNull(); // its alternatives may be others now
  });

  it('takes nothing from a fetch that a change overtook', async () => {
    const { session, client } = opened();
    let answer: (messages: MessageItem[]) => void = () => {};
    client.getMessages.mockImplementationOnce(() => new Promise((done) => (answer = done)));
    const late = session.want(0, 1);
    client.selectAlternative.mockImplementationOnce(() => Promise.resolve(detail()));
    await session.select('m998');
    answer([message('m0', false, { text: 'old' })]);
    await late;
    expect(session.message('m0')).toBeNull();
    await session.want(0, 1);
    expect(session.message('m0')?.text).toBe('m0!');
  });

  it('can try again after a fetch that failed', async () => {
    const { session, client } = opened();
    client.getMessages.mockImplementationOnce(() => Promise.reject(new Error('locked')));
    await expect(session.want(0, 1)).rejects.toThrow('locked');
    await session.want(0, 1);
    expect(session.message('m0')?.text).toBe('m0!');
  });

  it('knows what was said last, and what the person said last', () => {
    const { session } = opened();
    expect([session.last?.id, session.lastOwn?.id]).toEqual(['m999', 'm998']);
  });
});
