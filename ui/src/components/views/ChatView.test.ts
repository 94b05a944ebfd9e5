import { flushSync, mount, unmount } from 'svelte';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import Root from '../../App.svelte';
import { App } from '../../lib/app.svelte';
import type { ChatDetail } from '../../lib/ipc/bindings/ChatDetail';
import type { ChatEvent } from '../../lib/ipc/bindings/ChatEvent';
import type { MessageItem } from '../../lib/ipc/bindings/MessageItem';
import type { Client } from '../../lib/ipc/client';
import { ids } from '../../lib/testids';

const message = (id: string, part: Partial<MessageItem> = {}): MessageItem =>
  ({
    id,
    parentId: null,
    isUser: false,
    text: id,
    status: 'complete',
    alternatives: [id],
    ...part,
  }) as MessageItem;

/** Two characters with a chat each; the reply is played by the test through `emit`. */
function studio() {
  let emit: (event: ChatEvent) => void = () => {};
  const chat = (id: string) => ({ id: `of-${id}`, characterId: id, title: `Talk of ${id}`, isPinned: false });
  const known = {
    listCharacters: () => Promise.resolve(['dot', 'bo'].map((id) => ({ id, name: id, isTaught: true }))),
    listChats: vi.fn((id: string) => Promise.resolve([chat(id)])),
    getChat: vi.fn((chatId: string) =>
      Promise.resolve({
        chat: chat(chatId.slice('of-'.length)),
        thread: [`said-${chatId}`],
        messages: [message(`said-${chatId}`)],
        settings: { pictureMode: 'never' },
      } as unknown as ChatDetail),
    ),
    sendMessage: (_: unknown, on: (event: ChatEvent) => void) => {
      emit = on;
      const reply = message('r', { parentId: 'u', text: '', status: 'streaming' });
      const userMessage = message('u', { parentId: 'said-of-dot', isUser: true });
      return Promise.resolve({ generationId: 'g', userMessage, reply });
    },
    searchChats: () =>
      Promise.resolve([
        { chatId: 'of-bo', characterId: 'bo', chatTitle: '', messageId: 'said-of-bo', snippet: 'a [hit]' },
      ]),
    characterPicture: () => '',
  };
  const pending = () => new Promise<never>(() => undefined);
  const client = new Proxy(known, {
    get: (_, name) => (name in known ? known[name as keyof typeof known] : pending),
  });
  return { client: client as unknown as Client, known, emit: (event: ChatEvent) => emit(event) };
}

let root: ReturnType<typeof mount> | null = null;
let app: App;
const find = <E extends HTMLElement>(id: string) => document.querySelector<E>(`[data-testid=${id}]`);
const until = (text: string) => vi.waitFor(() => expect(document.body.textContent).toContain(text));

function type(id: string, text: string) {
  const field = find<HTMLInputElement>(id);
  if (field) field.value = text;
  field?.dispatchEvent(new Event('input', { bubbles: true }));
  flushSync();
}

async function show(client: Client) {
  app = new App(client);
  root = mount(Root, { target: document.body, props: { app } });
  await until('said-of-dot');
}

beforeEach(() => {
  localStorage.clear();
  localStorage.setItem('place', 'chat');
  localStorage.setItem('character', 'dot');
  class Observer {
    observe() {}
    unobserve() {}
    disconnect() {}
  }
  vi.stubGlobal('ResizeObserver', Observer);
  vi.stubGlobal('CSS', { escape: (id: string) => id });
  Element.prototype.scrollIntoView = () => {};
});
afterEach(() => root && unmount(root));

it('goes on with a reply when another place was shown, or all was built anew', async () => {
  const { client, emit, known } = studio();
  await show(client);
  type(ids.chatInput, 'Hello?');
  find(ids.chatSend)?.click();
  await vi.waitFor(() => expect(find(ids.chatStop)).not.toBeNull());
  await app.go('welcome');
  await vi.waitFor(() => expect(find(ids.chatStop)).toBeNull());
  emit({ type: 'textDelta', messageId: 'r', delta: 'To the ' });
  await app.go('chat');
  await until('To the');
  await app.renew();
  emit({ type: 'textDelta', messageId: 'r', delta: 'leaf.' });
  await until('To the leaf.');
  expect(find(ids.chatStop)).not.toBeNull();

  const numRead = known.listChats.mock.calls.length;
  emit({ type: 'done', message: message('r', { parentId: 'u', text: 'To the leaf.' }) });
  await vi.waitFor(() => expect(find(ids.chatSend)).not.toBeNull());
  expect(known.listChats.mock.calls.length, 'the view that is shown hears of it').toBe(numRead + 1);
});

it('opens a hit in the chat of another character at its place', async () => {
  const { client } = studio();
  await show(client);
  type(ids.chatSearch, 'hit');
  await vi.waitFor(() => expect(find(ids.searchHit)).not.toBeNull());
  const scrolled = vi.spyOn(Element.prototype, 'scrollIntoView');
  find(ids.searchHit)?.click();
  await until('said-of-bo');
  await vi.waitFor(() => expect(scrolled).toHaveBeenCalled());
  expect(app.characterId).toBe('bo');
  expect([app.wantedChat, app.wantedMessage]).toEqual([null, null]);
});

it('shows the character that was chosen last, whatever answers last', async () => {
  const { client, known } = studio();
  await show(client);
  let answer: () => void = () => {};
  const late = known.getChat.getMockImplementation();
  known.getChat.mockImplementationOnce(
    (id) => new Promise((done) => (answer = () => void late?.(id).then(done))),
  );
  await app.go('chat', 'bo');
  await vi.waitFor(() => expect(known.getChat).toHaveBeenLastCalledWith('of-bo'));
  await app.go('chat', 'dot');
  await until('said-of-dot');
  answer();
  await new Promise((done) => setTimeout(done));
  flushSync();
  expect(document.body.textContent).toContain('said-of-dot');
  expect(document.body.textContent).not.toContain('said-of-bo');
});
