/** The tree of a chat as a list of rows, read as far as it is looked at. */
import { SvelteMap } from 'svelte/reactivity';
import type { TreeNode } from '../ipc/bindings/TreeNode';
import type { Client } from '../ipc/client';

/** Rows that are read at a time. */
export const PAGE = 100;

export class ChatTree {
  /** Messages of the chat. */
  total = $state(0);
  numBranches = $state(0);
  /** Row of the last message on the screen. */
  end = $state(0);
  readonly #pages = new SvelteMap<number, TreeNode[]>();
  #asked: number[] = [];
  /** Answers about an older tree are dropped. */
  #round = 0;

  constructor(
    readonly client: Client,
    readonly chatId: string,
  ) {}

  /** The row at a place; undefined while it is being read. */
  row(index: number): TreeNode | undefined {
    return this.#pages.get(Math.floor(index / PAGE))?.[index % PAGE];
  }

  /** Reads the rows of a range, both ends included, anew. What is shown stays until the answer is there. */
  async reload(first: number, last: number): Promise<void> {
    this.#round += 1;
    this.#asked = [];
    const round = this.#round;
    const pages = pagesOf(first, last);
    const answers = await Promise.all(pages.map((page) => this.#read(page)));
    if (round !== this.#round) return;
    this.#pages.clear();
    answers.forEach((rows, at) => this.#pages.set(pages[at] ?? 0, rows));
  }

  /** Makes sure that the rows of a range are read. */
  async show(first: number, last: number): Promise<void> {
    const round = this.#round;
    const missing = pagesOf(first, last).filter(
      (page) => !this.#pages.has(page) && !this.#asked.includes(page),
    );
    await Promise.all(
      missing.map(async (page) => {
        const rows = await this.#read(page);
        if (round === this.#round) this.#pages.set(page, rows);
      }),
    );
  }

  async #read(page: number): Promise<TreeNode[]> {
    const round = this.#round;
    this.#asked.push(page);
    try {
      const answer = await this.client.chatTree(this.chatId, page * PAGE, PAGE);
      if (round === this.#round) {
        this.total = answer.total;
        this.numBranches = answer.numBranches;
        this.end = answer.end;
      }
      return answer.rows;
    } finally {
      if (round === this.#round) this.#asked = this.#asked.filter((other) => other !== page);
    }
  }
}

function pagesOf(first: number, last: number): number[] {
  const [from, to] = [Math.floor(Math.max(0, first) / PAGE), Math.floor(Math.max(0, last) / PAGE)];
  return Array.from({ length: to - from + 1 }, (_, at) => from + at);
}
