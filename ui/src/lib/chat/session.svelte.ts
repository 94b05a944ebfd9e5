/** One open chat: its messages, and the reply that is being made. */
import type { ApiError } from '../ipc/bindings/ApiError';
import type { ChatDetail } from '../ipc/bindings/ChatDetail';
import type { ChatEvent } from '../ipc/bindings/ChatEvent';
import type { MessageItem } from '../ipc/bindings/MessageItem';
import type { PictureMode } from '../ipc/bindings/PictureMode';
import type { Regenerate } from '../ipc/bindings/Regenerate';
import { asApiError, type Client } from '../ipc/client';

export type Drawing = { step: number; numSteps: number; etaSecs: number; preview: string | null };

export class ChatSession {
  chat = $state<ChatDetail>() as ChatDetail;
  /** The generation that is on, if any. */
  generationId = $state<string | null>(null);
  activeMessageId = $state<string | null>(null);
  phase = $state<string | null>(null);
  drawing = $state<Drawing | null>(null);
  /** Errors of replies made since the chat was opened, by message. */
  errors = $state<Record<string, ApiError>>({});

  constructor(
    readonly client: Client,
    chat: ChatDetail,
    readonly onSettled: () => void = () => {},
  ) {
    this.chat = chat;
  }

  get isBusy(): boolean {
    return this.generationId !== null;
  }

  async send(text: string, pictureMode: PictureMode): Promise<void> {
    const request = { chatId: this.chat.chat.id, parentId: null, text, pictureMode, seed: null };
    await this.#begin((on) => this.client.sendMessage(request, on));
  }

  async regenerate(messageId: string, what: Regenerate): Promise<void> {
    if (what === 'picture') this.activeMessageId = messageId;
    await this.#begin((on) => this.client.regenerate(messageId, what, null, on));
  }

  async stop(): Promise<void> {
    if (this.generationId) await this.client.stopGeneration(this.generationId);
  }

  async select(messageId: string): Promise<void> {
    this.chat = await this.client.selectAlternative(messageId);
  }

  async edit(messageId: string, text: string): Promise<void> {
    this.#put(await this.client.editMessage(messageId, text));
  }

  async #begin(start: (on: (event: ChatEvent) => void) => ReturnType<Client['sendMessage']>): Promise<void> {
    if (this.isBusy) return;
    // Events can overtake the answer that names the generation: they wait for it.
    const early: ChatEvent[] = [];
    let isStarted = false;
    this.generationId = 'starting';
    this.drawing = null;
    this.phase = null;
    try {
      const started = await start((event) => (isStarted ? this.receive(event) : void early.push(event)));
      this.generationId = started.generationId;
      this.activeMessageId = started.reply.id;
      if (started.userMessage) this.#append(started.userMessage);
      this.#append(started.reply);
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
        this.phase = event.label;
        break;
      case 'textDelta': {
        this.phase = null;
        const message = this.chat.messages.find((m) => m.id === event.messageId);
        if (message) message.text += event.delta;
        break;
      }
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
    this.onSettled();
  }

  /** Adds a message at the end, or behind its parent when it is a new alternative. */
  #append(message: MessageItem): void {
    const at = this.chat.messages.findIndex((m) => m.id === message.id);
    if (at >= 0) {
      this.chat.messages[at] = message;
      return;
    }
    const parent = this.chat.messages.findIndex((m) => m.id === message.parentId);
    const kept = parent >= 0 ? this.chat.messages.slice(0, parent + 1) : this.chat.messages;
    this.chat.messages = [...kept, message];
  }

  #put(message: MessageItem): void {
    const at = this.chat.messages.findIndex((m) => m.id === message.id);
    if (at >= 0) this.chat.messages[at] = message;
  }
}
