/** The material browser: a filter, the pages of items around what is in view, and the open item. */
import { SvelteMap } from 'svelte/reactivity';
import type { MaterialCount } from '../ipc/bindings/MaterialCount';
import type { MaterialFilter } from '../ipc/bindings/MaterialFilter';
import type { MaterialItem } from '../ipc/bindings/MaterialItem';
import type { MaterialOwner } from '../ipc/bindings/MaterialOwner';
import type { MaterialRow } from '../ipc/bindings/MaterialRow';
import type { Client } from '../ipc/client';

/** Items that are read at a time. */
export const PAGE = 100;
/** Pages that are kept; the ones farthest from view are forgotten. */
const MAX_PAGES = 10;

export const keyOf = (row: Pick<MaterialRow, 'characterId' | 'kind' | 'id'>): string =>
  `${row.characterId}/${row.kind}/${row.id}`;

export class MaterialBrowser {
  filter = $state<MaterialFilter>({ characterId: null, kind: null, isHeldOut: null, words: '' });
  owners = $state.raw<MaterialOwner[]>([]);
  total = $state(0);
  counts = $state.raw<MaterialCount[]>([]);
  isLoaded = $state(false);
  /** Place of the item that the keys move. */
  at = $state(0);
  open = $state.raw<MaterialItem | null>(null);
  readonly #pages = new SvelteMap<number, MaterialRow[]>();
  #asked: number[] = [];
  /** Answers to an older filter are dropped. */
  #round = 0;
  #opening = 0;

  constructor(readonly client: Client) {}

  /** The item at a place; undefined while it is being read. */
  row(index: number): MaterialRow | undefined {
    return this.#pages.get(Math.floor(index / PAGE))?.[index % PAGE];
  }

  get owner(): MaterialOwner | null {
    return this.owners.find((o) => o.id === this.filter.characterId) ?? null;
  }

  /** Reads who is there, then what they have. */
  async start(): Promise<void> {
    this.owners = await this.client.materialOwners();
    if (this.filter.characterId !== null && !this.owner) this.filter.characterId = null;
    await this.reload();
  }

  async set(part: Partial<MaterialFilter>): Promise<void> {
    Object.assign(this.filter, part);
    this.at = 0;
    await this.reload();
  }

  async reload(): Promise<void> {
    const round = ++this.#round;
    this.#asked = [0];
    const page = await this.client.materialPage($state.snapshot(this.filter), 0, PAGE);
    if (round !== this.#round) return;
    this.#pages.clear();
    this.#pages.set(0, page.items);
    [this.total, this.counts, this.isLoaded] = [page.total, page.counts, true];
  }

  /** Makes sure that the items of a range are read. */
  async show(first: number, last: number): Promise<void> {
    const round = this.#round;
    for (let page = Math.floor(first / PAGE); page <= Math.floor(last / PAGE); page++) {
      if (this.#asked.includes(page)) continue;
      this.#asked.push(page);
      try {
        const answer = await this.client.materialPage($state.snapshot(this.filter), page * PAGE, PAGE);
        if (round !== this.#round) return;
        this.#pages.set(page, answer.items);
      } catch (error) {
        if (round === this.#round) this.#asked = this.#asked.filter((p) => p !== page);
        throw error;
      }
    }
    this.#forget(Math.floor(first / PAGE));
  }

  #forget(around: number): void {
    const far = [...this.#pages.keys()].sort((a, b) => Math.abs(b - around) - Math.abs(a - around));
    for (const page of far.slice(0, Math.max(0, this.#pages.size - MAX_PAGES))) {
      this.#pages.delete(page);
      this.#asked = this.#asked.filter((p) => p !== page);
    }
  }

  /** Opens an item; the one that was asked for last wins. */
  async openItem(row: Pick<MaterialRow, 'characterId' | 'kind' | 'id'>): Promise<void> {
    const opening = ++this.#opening;
    const item = await this.client.materialItem(row.characterId, row.kind, row.id);
    if (opening === this.#opening) this.open = item;
  }

  close(): void {
    this.#opening += 1;
    this.open = null;
  }
}
