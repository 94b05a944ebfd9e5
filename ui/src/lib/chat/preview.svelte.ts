/** What would be sent next, counted a moment after the last change. */
import type { ApiError } from '../ipc/bindings/ApiError';
import type { PromptReport } from '../ipc/bindings/PromptReport';
import { asApiError } from '../ipc/client';
import type { ChatSession } from './session.svelte';

const COUNT_AFTER_MS = 300;

/** One for all who show it, so that a change is counted once. */
export class PromptPreview {
  report = $state.raw<PromptReport | null>(null);
  error = $state.raw<ApiError | null>(null);
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isCounting = false;
  #isStale = false;

  constructor(readonly session: ChatSession) {}

  /** Counts anew whenever what it depends on changes; to be called in an effect. */
  follow(): () => void {
    const { session } = this;
    void [session.draft, session.treeVersion, ...Object.values(session.settings)];
    // While a reply is made the processor is the model's; the end of the reply is a change of its own.
    if (!session.isBusy) this.later();
    return () => clearTimeout(this.#timer);
  }

  later(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.count(), COUNT_AFTER_MS);
  }

  /** One count at a time; what changes meanwhile is counted after it. */
  async count(): Promise<void> {
    this.#isStale = this.#isCounting;
    if (this.#isCounting) return;
    this.#isCounting = true;
    const { client, id, draft } = this.session;
    try {
      await this.session.flush(); // the settings on the screen are those that count
      this.report = await client.previewPrompt(id, draft);
      this.error = null;
    } catch (error) {
      this.report = null;
      this.error = asApiError(error);
    }
    this.#isCounting = false;
    if (this.#isStale) this.later();
  }
}
