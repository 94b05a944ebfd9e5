/** Several sides answering the same message on the same seed. */
import { SvelteMap } from 'svelte/reactivity';
import type { ApiError } from '../ipc/bindings/ApiError';
import type { CompareAnswer } from '../ipc/bindings/CompareAnswer';
import type { CompareEvent } from '../ipc/bindings/CompareEvent';
import { asApiError, type Client } from '../ipc/client';
import type { Drawing, Phase } from './phase';

/** Who answers: a character with the adapter of that name, or on the bare base. */
export type Side = { characterId: string; adapter: string | null };
export type SideState = {
  side: Side;
  text: string;
  phase: Phase | null;
  drawing: Drawing | null;
  answer: CompareAnswer | null;
};

/** What a chat's sides are asked. */
export type Asking = { text: string; sides: Side[]; seed: number | null; withPictures: boolean };

/** Questions that were not closed, by chat: they are there again when another place was shown. */
const open = new SvelteMap<string, Asking>();
export const openAsking = (chatId: string): Asking | undefined => open.get(chatId);
export const keepAsking = (chatId: string, asking: Asking): void => void open.set(chatId, asking);
export const closeAsking = (chatId: string): void => void open.delete(chatId);

export class Comparison {
  sides = $state<SideState[]>([]);
  id = $state<string | null>(null);
  error = $state<ApiError | null>(null);

  constructor(readonly client: Client) {}

  get isBusy(): boolean {
    return this.id !== null;
  }

  /** Whether all answers so far come from one seed and one base. */
  get isFair(): boolean {
    const answers = this.sides.flatMap((state) => state.answer ?? []);
    const [first] = answers;
    return answers.every((a) => a.seed === first?.seed && a.baseHash === first.baseHash);
  }

  async run(
    chatId: string,
    text: string,
    sides: Side[],
    seed: number | null,
    withPictures: boolean,
  ): Promise<void> {
    await this.start(sides, (on) => this.client.compare({ chatId, text, sides, seed, withPictures }, on));
  }

  /** Lets `sides` answer what `begin` asks; it returns what stops them. */
  async start(sides: Side[], begin: (on: (event: CompareEvent) => void) => Promise<string>): Promise<void> {
    if (this.isBusy) return;
    this.id = 'starting';
    this.error = null;
    this.sides = sides.map((side) => ({ side, text: '', phase: null, drawing: null, answer: null }));
    let hasEnded = false;
    try {
      const id = await begin((event) => {
        if (event.type === 'done' || event.type === 'failed') hasEnded = true;
        this.receive(event);
      });
      if (!hasEnded) this.id = id;
    } catch (error) {
      this.id = null;
      this.error = asApiError(error);
    }
  }

  async stop(): Promise<void> {
    if (this.id) await this.client.stopGeneration(this.id);
  }

  receive(event: CompareEvent): void {
    if (event.type === 'done' || event.type === 'failed') {
      this.id = null;
      this.error = event.type === 'failed' ? event.error : null;
      for (const state of this.sides) state.phase = state.drawing = null;
      return;
    }
    const state = this.sides[event.type === 'sideDone' ? event.answer.side : event.side];
    if (!state) return;
    state.phase = null;
    switch (event.type) {
      case 'phase':
        state.phase = { kind: event.kind, numTokens: event.numTokens };
        break;
      case 'textDelta':
        state.text += event.delta;
        break;
      case 'pictureProgress':
        state.drawing = { step: event.step, numSteps: event.numSteps, etaSecs: event.etaSecs, preview: null };
        break;
      case 'sideDone':
        state.answer = event.answer;
        state.text = event.answer.text;
        state.drawing = null;
        break;
    }
  }
}
