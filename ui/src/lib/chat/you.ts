/** Who the person is, kept from one chat to the next. */
import type { ChatSettings } from '../ipc/bindings/ChatSettings';

export type You = Pick<ChatSettings, 'userName' | 'userPersona'>;

const KEY = 'you';

/** Remembers what `settings` say about the person, for chats to come. */
export function keepYou({ userName, userPersona }: You): void {
  localStorage.setItem(KEY, JSON.stringify({ userName, userPersona }));
}

/** What is remembered; null where that is nothing. */
export function keptYou(): You | null {
  try {
    const { userName, userPersona } = JSON.parse(localStorage.getItem(KEY) ?? '{}') as Partial<You>;
    return userName || userPersona ? { userName: userName ?? '', userPersona: userPersona ?? '' } : null;
  } catch {
    return null; // not written by us
  }
}
