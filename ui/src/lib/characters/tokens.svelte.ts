/** Token counts of texts, asked for a moment after the last key and remembered. */
import { SvelteMap } from 'svelte/reactivity';
import type { Client } from '../ipc/client';

const ASK_AFTER_MS = 400;
const MAX_KNOWN = 400;

export class TokenCounter {
  readonly #known = new SvelteMap<string, number>();
  #wanted: string[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The base has no usable tokenizer: nothing is shown. */
  failed = $state(false);

  constructor(readonly client: Client) {}

  /** Tokens of a text; null until they are known. */
  of(text: string): number | null {
    return text === '' ? 0 : (this.#known.get(text) ?? null);
  }

  /** Sum over texts; null until all are known. */
  sum(texts: string[]): number | null {
    return texts.reduce<number | null>((sum, text) => {
      const count = this.of(text);
      return sum === null || count === null ? null : sum + count;
    }, 0);
  }

  /** Asks for the texts that are not known yet. */
  want(texts: string[]): void {
    clearTimeout(this.#timer);
    this.#wanted = texts.filter((text) => text !== '' && !this.#known.has(text));
    if (this.#wanted.length > 0) this.#timer = setTimeout(() => void this.#ask(), ASK_AFTER_MS);
  }

  async #ask(): Promise<void> {
    const texts = this.#wanted;
    try {
      const counts = await this.client.countTokens(texts);
      if (this.#known.size > MAX_KNOWN) this.#known.clear();
      texts.forEach((text, i) => this.#known.set(text, counts[i] ?? 0));
      this.failed = false;
    } catch {
      this.failed = true; // a help alone; what is typed is saved without it
    }
  }

  close(): void {
    clearTimeout(this.#timer);
  }
}
