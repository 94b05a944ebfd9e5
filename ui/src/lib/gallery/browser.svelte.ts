/** The gallery: a filter, the pages of pictures around what is in view, and a selection. */
import { SvelteMap, SvelteSet } from 'svelte/reactivity';
import type { GalleryFilter } from '../ipc/bindings/GalleryFilter';
import type { GalleryItem } from '../ipc/bindings/GalleryItem';
import type { Client } from '../ipc/client';

/** Pictures that are read at a time. */
export const PAGE = 120;
/** Pages that are kept; the ones farthest from view are forgotten. */
const MAX_PAGES = 12;

export const everything: GalleryFilter = {
  characterId: null,
  kind: null,
  favourites: false,
  minRating: null,
  words: '',
  order: 'newest',
};

const browsers = new WeakMap<Client, GalleryBrowser>();

/** The one browser of a window: filter, selection and details stay while another place is shown. */
export function galleryBrowser(client: Client): GalleryBrowser {
  const browser = browsers.get(client) ?? new GalleryBrowser(client);
  browsers.set(client, browser);
  return browser;
}

export class GalleryBrowser {
  filter = $state<GalleryFilter>({ ...everything });
  total = $state(0);
  isLoaded = $state(false);
  /** The picture whose details are shown. */
  openId = $state<string | null>(null);
  readonly selected = new SvelteSet<string>();
  /** The picture whose details were closed last. */
  #closedId: string | null = null;
  readonly #pages = new SvelteMap<number, GalleryItem[]>();
  #asked: number[] = [];
  /** Answers to an older filter are dropped. */
  #round = 0;
  #range: [number, number] = [0, 0];

  constructor(readonly client: Client) {}

  /** The picture at a place; undefined while it is being read. */
  at(index: number): GalleryItem | undefined {
    return this.#pages.get(Math.floor(index / PAGE))?.[index % PAGE];
  }

  find(id: string | null): GalleryItem | undefined {
    if (id === null) return undefined;
    for (const page of this.#pages.values()) {
      const found = page.find((item) => item.id === id);
      if (found) return found;
    }
    return undefined;
  }

  indexOf(id: string): number {
    for (const [number, page] of this.#pages) {
      const at = page.findIndex((item) => item.id === id);
      if (at >= 0) return number * PAGE + at;
    }
    return -1;
  }

  get open(): GalleryItem | undefined {
    return this.find(this.openId);
  }

  /** Hides the details. */
  close(): void {
    this.#closedId = this.openId ?? this.#closedId;
    this.openId = null;
  }

  /** Hides the details; or shows those that were closed last, of the selection, or of the first picture. */
  fold(): void {
    if (this.open) return this.close();
    const known = [this.#closedId, ...this.selected].find((id) => this.find(id));
    this.openId = known ?? this.at(0)?.id ?? null;
  }

  get chosen(): GalleryItem[] {
    return [...this.selected].flatMap((id) => this.find(id) ?? []);
  }

  /** Changes the filter and reads from the start. */
  async set(part: Partial<GalleryFilter>): Promise<void> {
    Object.assign(this.filter, part);
    this.selected.clear();
    this.#range = [0, 0];
    await this.reload();
  }

  /** Reads what is in view anew. What is shown stays until the answer is there. */
  async reload(): Promise<void> {
    this.#round += 1;
    this.#asked = [];
    const [first, last] = this.#range;
    const pages = this.#needed(first, last);
    const round = this.#round;
    const answers = await Promise.all(pages.map((page) => this.#read(page)));
    if (round !== this.#round) return;
    this.#pages.clear();
    answers.forEach((items, i) => this.#pages.set(pages[i] ?? 0, items));
    this.isLoaded = true;
    if (this.openId && !this.open) this.openId = null;
  }

  /** Makes sure that the pictures of a range are read. */
  async show(first: number, last: number): Promise<void> {
    this.#range = [first, last];
    const round = this.#round;
    const missing = this.#needed(first, last).filter((p) => !this.#pages.has(p) && !this.#asked.includes(p));
    await Promise.all(
      missing.map(async (page) => {
        const items = await this.#read(page);
        if (round === this.#round) this.#pages.set(page, items);
      }),
    );
    this.#forget(Math.floor(first / PAGE));
  }

  #needed(first: number, last: number): number[] {
    const pages = [];
    for (let page = Math.floor(first / PAGE); page <= Math.floor(last / PAGE); page++) pages.push(page);
    return pages;
  }

  async #read(page: number): Promise<GalleryItem[]> {
    const round = this.#round;
    this.#asked.push(page);
    try {
      const answer = await this.client.galleryPage($state.snapshot(this.filter), page * PAGE, PAGE);
      if (round === this.#round) this.total = answer.total;
      return answer.items;
    } finally {
      if (round === this.#round) this.#asked = this.#asked.filter((p) => p !== page);
    }
  }

  #forget(around: number): void {
    const far = [...this.#pages.keys()].sort((a, b) => Math.abs(b - around) - Math.abs(a - around));
    for (const page of far.slice(0, Math.max(0, this.#pages.size - MAX_PAGES))) this.#pages.delete(page);
  }

  #patch(id: string, part: Partial<GalleryItem>): void {
    for (const [number, page] of this.#pages) {
      if (page.some((item) => item.id === id)) {
        this.#pages.set(
          number,
          page.map((item) => (item.id === id ? { ...item, ...part } : item)),
        );
      }
    }
  }

  /** Shows the change at once; takes it back when it could not be stored. */
  async #mark(id: string, part: Partial<GalleryItem>, store: () => Promise<unknown>): Promise<void> {
    const before = this.find(id);
    this.#patch(id, part);
    try {
      await store();
    } catch (error) {
      if (before) this.#patch(id, before);
      throw error;
    }
  }

  async favour(item: GalleryItem): Promise<void> {
    const isFavourite = !item.isFavourite;
    await this.#mark(item.id, { isFavourite }, () => this.client.setFavourite(item.id, isFavourite));
  }

  /** Rates; the same stars again take the rating away. */
  async rate(item: GalleryItem, stars: number): Promise<void> {
    const rating = item.rating === stars ? null : stars;
    await this.#mark(item.id, { rating }, () => this.client.setRating(item.id, rating));
  }

  toggle(id: string): void {
    if (!this.selected.delete(id)) this.selected.add(id);
  }

  /** Hides pictures; the answer brings them back. */
  async remove(ids: string[]): Promise<() => Promise<void>> {
    await this.client.deleteGalleryPictures(ids);
    ids.forEach((id) => this.selected.delete(id));
    await this.reload();
    return async () => {
      await this.client.restoreGalleryPictures(ids);
      await this.reload();
    };
  }
}
