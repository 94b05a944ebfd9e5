/** The chats that were opened: a reply goes on, and a changed text waits, while another place is shown. */
import type { ChatDetail } from '../ipc/bindings/ChatDetail';
import type { Client } from '../ipc/client';
import { ChatSession } from './session.svelte';

/** Chats at rest that are kept, so that an undo still finds the one on the screen. */
export const MAX_RESTING = 8;

/** Whether it holds what the studio does not know. */
const isHeld = (session: ChatSession): boolean =>
  session.isBusy || session.edits.size > 0 || Object.keys(session.errors).length > 0;

export class ChatSessions {
  /** Hears of every reply that is whole or failed. */
  onSettled: (session: ChatSession) => void = () => {};
  /** By chat, the one opened last at the end. */
  readonly #kept = new Map<string, ChatSession>();

  constructor(readonly client: Client) {}

  /** The session of a chat, as the studio tells it now. */
  async open(chatId: string): Promise<ChatSession> {
    const known = this.#kept.get(chatId);
    if (!known) return this.take(await this.client.getChat(chatId));
    await known.renew();
    return this.#keep(known);
  }

  /** The session of a chat that was just told. */
  take(chat: ChatDetail): ChatSession {
    const known = this.#kept.get(chat.chat.id);
    const session: ChatSession = known ?? new ChatSession(this.client, chat, () => this.onSettled(session));
    return this.#keep(session);
  }

  #keep(session: ChatSession): ChatSession {
    this.#kept.delete(session.id);
    this.#kept.set(session.id, session);
    const resting = [...this.#kept.values()].filter((kept) => !isHeld(kept));
    resting.slice(0, -MAX_RESTING).forEach(({ id }) => this.#kept.delete(id));
    return session;
  }
}

const all = new WeakMap<Client, ChatSessions>();

/** Those of the window. */
export function chatSessions(client: Client): ChatSessions {
  const sessions = all.get(client) ?? new ChatSessions(client);
  all.set(client, sessions);
  return sessions;
}
