/** Prompts that refining draws, being edited: what was typed is saved a moment later. */
import type { ApiError } from '../ipc/bindings/ApiError';
import type { PromptItem } from '../ipc/bindings/PromptItem';
import { asApiError, type Client } from '../ipc/client';

const SAVE_AFTER_MS = 700;
/** Fewer prompts to learn from are filled up with drafts. */
const FEWEST = 4;

export type SaveState = 'saved' | 'dirty' | 'saving' | 'failed';

export class PromptList {
  prompts = $state<PromptItem[]>([]);
  state = $state<SaveState>('saved');
  error = $state<ApiError | null>(null);
  #timer: ReturnType<typeof setTimeout> | undefined;
  #work: Promise<void> = Promise.resolve();
  #isDirty = false;
  /** Before they are read there is nothing to save: an empty list would take theirs away. */
  #isRead = false;

  /** `onSaved` hears whose prompts they are now: a bundled character is copied. */
  constructor(
    readonly client: Client,
    readonly characterId: string,
    readonly onSaved: (id: string) => void,
  ) {}

  get areDrafts(): boolean {
    return this.prompts.some((p) => p.isDraft);
  }

  /** True while too few are learned from, so that drafts are added. */
  get areTooFew(): boolean {
    return this.prompts.filter((p) => !p.isHeldOut && p.text.trim() !== '').length < FEWEST;
  }

  async load(): Promise<void> {
    this.prompts = await this.client.refinePrompts(this.characterId);
    this.#isRead = true;
  }

  add(): void {
    const question = { question: '', kind: 'yes_no', answer: 'yes', weight: 1 };
    this.prompts.unshift({
      id: crypto.randomUUID(),
      text: '',
      isHeldOut: false,
      isDraft: false,
      questions: [question],
    });
  }

  /** Takes one away; the answer brings it back. */
  remove(index: number): () => void {
    const [gone] = this.prompts.splice(index, 1);
    this.touch();
    return () => {
      if (gone) this.prompts.splice(index, 0, gone);
      this.touch();
    };
  }

  touch(): void {
    this.#isDirty = true;
    this.state = 'dirty';
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.flush(), SAVE_AFTER_MS);
  }

  /** Saves what is unsaved. Prompts without text wait until they have one. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#work = this.#work.then(async () => {
      if (!this.#isDirty || !this.#isRead) return;
      this.#isDirty = false;
      this.state = 'saving';
      try {
        const kept = $state.snapshot(this.prompts).filter((p) => p.text.trim() !== '');
        const questions = (p: PromptItem) => p.questions.filter((q) => q.question.trim() !== '');
        const whole = kept.map((p) => ({ ...p, questions: questions(p) }));
        const id = await this.client.savePrompts(this.characterId, whole);
        this.prompts.forEach((p) => (p.isDraft = false));
        this.error = null;
        this.state = this.#isDirty ? 'dirty' : 'saved';
        this.onSaved(id);
      } catch (error) {
        this.#isDirty = true;
        this.error = asApiError(error);
        this.state = 'failed';
      }
    });
    return this.#work;
  }
}
