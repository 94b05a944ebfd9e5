/** One open chat: its messages, how it is led, and the reply that is being made. */
import { SvelteMap } from 'svelte/reactivity';
import type { Carried } from '../app.svelte';
import type { ApiError } from '../ipc/bindings/ApiError';
import type { ChatDetail } from '../ipc/bindings/ChatDetail';
import type { ChatEvent } from '../ipc/bindings/ChatEvent';
import type { ChatSettings } from '../ipc/bindings/ChatSettings';
import type { MessageItem } from '../ipc/bindings/MessageItem';
import type { Regenerate } from '../ipc/bindings/Regenerate';
import { asApiError, type Client } from '../ipc/client';
import { Incoming, untold } from './incoming';
import type { Drawing, Phase } from './phase';
import { PromptPreview } from './preview.svelte';
import { keepYou, keptYou } from './you';

export type { Drawing } from './phase';

/** A picture that waits in the composer. */
export type Attachment = { name: string; url: string };

const SAVE_AFTER_MS = 400;
/** Settings that are typed; the others are chosen. */
const TYPED: (keyof ChatSettings)[] = ['userName', 'userPersona', 'authorNote'];
/** Messages that are fetched at once. */
export const PAGE = 200;
const draftKey = (chatId: string) => `draft:${chatId}`;
const attachmentKey = (chatId: string) => `attachment:${chatId}`;

/**
 * The thread is a list of ids; what a message says is fetched as far as it is looked at, for a thread
 * may be ten thousand messages long. Messages are plain values that are replaced, not changed. Only the
 * reply that is being made is reactive by itself, so that a growing text touches its row and no other.
 */
export class ChatSession {
  readonly id: string;
  readonly characterId: string;
  title = $state('');
  settings = $state.raw<ChatSettings>() as ChatSettings;
  /** Ids of the messages that are shown, first message first. */
  thread = $state.raw<string[]>([]);
  /** The generation that is on, if any. */
  generationId = $state<string | null>(null);
  activeMessageId = $state<string | null>(null);
  phase = $state<Phase | null>(null);
  drawing = $state.raw<Drawing | null>(null);
  /** Errors of replies made since the chat was opened, by message. */
  errors = $state<Record<string, ApiError>>({});
  /** What is in the composer; kept over restarts. */
  draft = $state('');
  #attachment = $state<Attachment | null>(null);
  /** The message whose prompt is being looked at. */
  inspectedId = $state<string | null>(null);
  /** The message to be brought into view. */
  wantedId = $state<string | null>(null);
  /** Counts changes of the tree, for those who show it. */
  treeVersion = $state(0);
  /** What would be sent next. */
  readonly preview = new PromptPreview(this);
  /** Texts that are being changed, by message. */
  readonly edits = new SvelteMap<string, string>();
  /** Ids that are on the screen: what replaces the thread keeps them ready. */
  looksAt: string[] = [];
  readonly #known = new SvelteMap<string, MessageItem>();
  readonly #incoming: Incoming;
  /** What was asked for last beside a message that was there already, by message. */
  readonly #added = new SvelteMap<string, Regenerate>();
  /** The message whose text is being written. */
  #growing: MessageItem | null = null;
  #saving: ReturnType<typeof setTimeout> | null = null;

  constructor(
    readonly client: Client,
    chat: ChatDetail,
    readonly onSettled: () => void = () => {},
  ) {
    this.id = chat.chat.id;
    this.characterId = chat.chat.characterId;
    const keep = (message: MessageItem) => void this.#known.set(message.id, message);
    this.#incoming = new Incoming(client.getMessages, keep);
    this.#take(chat);
    this.draft = localStorage.getItem(draftKey(this.id)) ?? '';
    const attached = localStorage.getItem(attachmentKey(this.id));
    if (attached) this.#attached(attached);
  }

  get isBusy(): boolean {
    return this.generationId !== null;
  }

  /** A message of the thread, once it is there. */
  message(id: string | null | undefined): MessageItem | null {
    return (id && this.#known.get(id)) || null;
  }

  get last(): MessageItem | null {
    return this.message(this.thread.at(-1));
  }

  /** What the person said last; the end of the thread is always there. */
  get lastOwn(): MessageItem | null {
    for (let at = this.thread.length - 1; at >= 0; at -= 1) {
      const message = this.message(this.thread[at]);
      if (!message || message.isUser) return message;
    }
    return null;
  }

  /** Fetches the messages from `start` to before `end` that are not there yet. */
  async want(start: number, end: number): Promise<void> {
    const wanted = this.thread.slice(Math.max(0, start), Math.max(0, end));
    await this.#incoming.fetch(wanted.filter((id) => !this.#known.has(id)));
  }

  /** The picture in the composer; kept over restarts as what is written there is. */
  get attachment(): Attachment | null {
    return this.#attachment;
  }

  set attachment(attachment: Attachment | null) {
    this.#attachment = attachment;
    if (attachment) localStorage.setItem(attachmentKey(this.id), attachment.name);
    else localStorage.removeItem(attachmentKey(this.id));
  }

  keepDraft(text: string): void {
    this.draft = text;
    if (text) localStorage.setItem(draftKey(this.id), text);
    else localStorage.removeItem(draftKey(this.id));
  }

  /** Says something; `branchOf` makes it an alternative of an earlier message, with the picture of that. */
  async send(text: string, branchOf: string | null = null): Promise<void> {
    const attached = branchOf ? this.message(branchOf)?.attachment : this.attachment?.name;
    const attachment = attached ?? null;
    const { pictureMode } = this.settings;
    const request = { chatId: this.id, parentId: null, text, pictureMode, seed: null, branchOf, attachment };
    await this.#begin((on) => this.client.sendMessage(request, on), branchOf);
    if (!branchOf) this.attachment = null;
  }

  async regenerate(messageId: string, what: Regenerate): Promise<void> {
    if (this.isBusy) return;
    if (what === 'picture' || what === 'continue') {
      this.activeMessageId = messageId;
      this.#added.set(messageId, what);
    }
    await this.#begin((on) => this.client.regenerate(messageId, what, null, on));
  }

  /** Asks again for what failed. A text that is whole is kept, and only its picture made. */
  async retry(messageId: string): Promise<void> {
    const message = this.message(messageId);
    const first = message?.status === 'complete' ? 'picture' : message?.text ? 'text' : 'both';
    await this.regenerate(messageId, this.#added.get(messageId) ?? first);
  }

  async stop(): Promise<void> {
    if (this.generationId) await this.client.stopGeneration(this.generationId);
  }

  async select(messageId: string): Promise<void> {
    await this.#show(await this.client.selectAlternative(messageId));
  }

  /** The alternative `by` places further, if there is one. */
  async swipe(message: MessageItem, by: number): Promise<void> {
    const wanted = message.alternatives[message.alternatives.indexOf(message.id) + by];
    if (wanted && !this.isBusy) await this.select(wanted);
  }

  /** Shows a message wherever in the tree it is. */
  async reveal(messageId: string): Promise<void> {
    if (this.#at(messageId) < 0) await this.select(messageId);
    const at = this.#at(messageId);
    await this.want(at - PAGE / 2, at + PAGE / 2);
    this.wantedId = messageId;
  }

  /** Takes in what changed elsewhere; a reply that is being made is left alone. */
  async renew(): Promise<void> {
    if (this.isBusy) return;
    const chat = await this.client.getChat(this.id);
    if (!this.isBusy) await this.#show(chat);
  }

  async branchAt(messageId: string): Promise<void> {
    await this.#show(await this.client.branchAt(messageId));
  }

  /** Changes what a message says; the answer changes it back. */
  async edit(messageId: string, text: string): Promise<() => Promise<void>> {
    const before = this.message(messageId)?.text;
    const put = async (wanted: string) => {
      this.#put(await this.client.editMessage(messageId, wanted));
      this.treeVersion += 1;
    };
    await put(text);
    return async () => {
      if (before !== undefined) await put(before);
    };
  }

  async delete(messageId: string): Promise<void> {
    await this.#show(await this.client.deleteMessage(messageId));
  }

  async restore(messageId: string): Promise<void> {
    await this.#show(await this.client.restoreMessage(messageId));
  }

  async pin(messageId: string, isPinned: boolean): Promise<void> {
    this.#put(await this.client.pinMessage(messageId, isPinned));
    this.treeVersion += 1;
  }

  async attach(base64: string): Promise<void> {
    this.#attached(await this.client.attachPicture(base64));
  }

  /** Attaches a picture that was dragged here from elsewhere in the window. */
  async attachCarried(carried: Carried): Promise<void> {
    this.#attached(
      'picture' in carried ? await this.client.attachDrawn(carried.picture) : carried.attachment,
    );
  }

  #attached(name: string): void {
    this.attachment = { name, url: this.client.attachedPicture(name) };
  }

  /** Changes how the chat is led. What is typed is written a moment later, not letter by letter. */
  lead(change: Partial<ChatSettings>, onError: (error: unknown) => void = () => {}): void {
    this.settings = { ...this.settings, ...change };
    if (change.userName !== undefined || change.userPersona !== undefined) keepYou(this.settings);
    if (this.#saving !== null) clearTimeout(this.#saving);
    const save = () => void this.flush().catch(onError);
    this.#saving = setTimeout(save, SAVE_AFTER_MS);
    if (!TYPED.some((name) => name in change)) save();
  }

  /** Tells a new chat who the person is, as they said it last. */
  introduce(onError: (error: unknown) => void = () => {}): void {
    const you = keptYou();
    if (you) this.lead(you, onError);
  }

  /** Writes what is not written yet. */
  async flush(): Promise<void> {
    if (this.#saving === null) return;
    clearTimeout(this.#saving);
    this.#saving = null;
    await this.client.setChatSettings(this.id, this.settings);
  }

  async #begin(
    start: (on: (event: ChatEvent) => void) => ReturnType<Client['sendMessage']>,
    branchOf: string | null = null,
  ): Promise<void> {
    if (this.isBusy) return;
    // Events can overtake the answer that names the generation: they wait for it.
    const early: ChatEvent[] = [];
    let isStarted = false;
    this.generationId = 'starting';
    this.drawing = null;
    this.phase = null;
    try {
      await this.flush(); // the reply is led by what the screen shows
      const started = await start((event) => (isStarted ? this.receive(event) : void early.push(event)));
      this.generationId = started.generationId;
      this.activeMessageId = started.reply.id;
      delete this.errors[started.reply.id];
      if (branchOf) this.#cutBefore(branchOf);
      if (started.userMessage) this.#append(started.userMessage);
      this.#append(started.reply);
      this.treeVersion += 1;
      isStarted = true;
      early.forEach((event) => this.receive(event));
    } catch (error) {
      this.generationId = null;
      this.activeMessageId = null;
      throw error;
    }
  }

  /** Takes one event in. */
  receive(event: ChatEvent): void {
    switch (event.type) {
      case 'phase':
        this.phase = { kind: event.kind, numTokens: event.numTokens };
        break;
      case 'textDelta':
        this.phase = null;
        this.#grow(event.messageId, event.delta);
        break;
      case 'textDone':
      case 'pictureDone':
        this.phase = null;
        this.drawing = null;
        this.#put(event.message);
        break;
      case 'pictureProgress':
        this.phase = null;
        this.drawing = {
          step: event.step,
          numSteps: event.numSteps,
          etaSecs: event.etaSecs,
          preview: event.preview ?? this.drawing?.preview ?? null,
        };
        break;
      case 'done':
        this.#put(event.message);
        this.#settle();
        break;
      case 'failed':
        if (event.message) {
          this.#put(event.message);
          this.errors[event.message.id] = asApiError(event.error);
        } else if (this.activeMessageId) {
          this.errors[this.activeMessageId] = asApiError(event.error);
        }
        this.#settle();
        break;
    }
  }

  #settle(): void {
    this.generationId = null;
    this.activeMessageId = null;
    this.phase = null;
    this.drawing = null;
    this.treeVersion += 1;
    this.onSettled();
  }

  #take(chat: ChatDetail): void {
    this.title = chat.chat.title;
    this.settings = chat.settings;
    this.#incoming.overtakeAll();
    this.#known.clear();
    chat.messages.forEach((message) => this.#known.set(message.id, message));
    this.thread = chat.thread;
  }

  /** Shows a thread with all that is on the screen, so that nothing blinks. */
  async #show(chat: ChatDetail): Promise<void> {
    const missing = untold(this.looksAt, chat.thread, chat.messages);
    const more = missing.length > 0 ? await this.client.getMessages(missing) : [];
    this.#take({ ...chat, messages: [...chat.messages, ...more] });
    this.treeVersion += 1;
  }

  /** From the end: what is looked for is nearly always the newest message. */
  #at(id: string): number {
    return this.thread.lastIndexOf(id);
  }

  #grow(id: string, delta: string): void {
    let message = this.message(id);
    if (!message) return;
    if (message !== this.#growing) {
      message = this.#growing = watched(message);
      this.#put(message);
    }
    message.text += delta;
  }

  #cutBefore(id: string): void {
    const at = this.#at(id);
    if (at >= 0) this.thread = this.thread.slice(0, at);
  }

  /** Adds a message at the end, or behind its parent when it is a new alternative. */
  #append(message: MessageItem): void {
    this.#put(message);
    if (this.#at(message.id) >= 0) return;
    const parent = message.parentId === null ? -1 : this.#at(message.parentId);
    const isElsewhere = message.parentId !== null && parent < 0;
    const kept = isElsewhere ? this.thread : this.thread.slice(0, parent + 1);
    this.thread = [...kept, message.id];
  }

  /** Keeps a message as it is now. */
  #put(message: MessageItem): void {
    this.#incoming.overtake(message.id);
    this.#known.set(message.id, message);
  }
}

/** The message with parts that are reactive each by itself. */
function watched(message: MessageItem): MessageItem {
  const parts = $state(message);
  return parts;
}
