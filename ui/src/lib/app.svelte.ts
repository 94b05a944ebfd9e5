/** What is shown where: place, chosen character, notices, theme. */
import { getContext, setContext } from 'svelte';
import { errorWords } from './errors';
import { mendFocus } from './focus';
import type { ApiError } from './ipc/bindings/ApiError';
import type { AppStatus } from './ipc/bindings/AppStatus';
import type { ChatSummary } from './ipc/bindings/ChatSummary';
import type { CharacterSummary } from './ipc/bindings/CharacterSummary';
import { asApiError, type Client } from './ipc/client';

/** Places of the rail, in its order. A new one is a line here and a line in `components/views/places.ts`. */
export const places = ['characters', 'teach', 'chat', 'gallery', 'evaluate'] as const;
export type Place = (typeof places)[number] | 'welcome';
export type Theme = 'system' | 'light' | 'dark';
export type Notice = {
  id: number;
  text: string;
  hint?: string;
  isError: boolean;
  undo?: () => Promise<void>;
};

/** A drawn picture, or one that came with a message. */
export type Carried = { picture: string } | { attachment: string };

const NOTICE_MS = 8000;
/** Steps of the zoom, in percent. */
export const zooms = [75, 90, 100, 110, 125, 150, 175, 200] as const;

/** Where it is remembered whether a place's details are unfolded. */
const foldKey = (place: Place): string => (place === 'chat' ? 'inspector' : `inspector-${place}`);

export class App {
  place = $state<Place>('characters');
  characterId = $state<string | null>(null);
  characters = $state<CharacterSummary[]>([]);
  loadError = $state<ApiError | null>(null);
  /** Whether it is known which place and character to show first. */
  isLoaded = $state(false);
  status = $state<AppStatus | null>(null);
  notices = $state<Notice[]>([]);
  theme = $state<Theme>('system');
  zoom = $state(100);
  isPaletteOpen = $state(false);
  isSheetOpen = $state(false);
  isDeletedOpen = $state(false);
  /** Counts up when the open place is to be built anew. */
  revision = $state(0);
  /** Whether the details of each place are unfolded. */
  #unfolded = $state<Partial<Record<Place, boolean>>>({});
  /** Chats of the place that is open, for the palette; set by whoever shows them. */
  chats = $state.raw<ChatSummary[]>([]);
  /** What only the open place can do; it sets them while it is open. */
  actions = $state.raw<{
    newChat?: () => void;
    search?: () => void;
    inspector?: () => void;
    openChat?: (id: string) => void;
    importCards?: () => void;
    importRolescape?: () => void;
  }>({});
  /** A chat to be opened as soon as the chat place is there. */
  wantedChat = $state<string | null>(null);
  /** The message in it to be brought into view. */
  wantedMessage: string | null = null;
  /** A character whose pictures the gallery is to show. */
  wantedGallery = $state<string | null>(null);
  /** What is being dragged from one place of the window to another. */
  carried: Carried | null = null;
  /** Called before the place or the character changes, so that nothing typed is lost. */
  beforeLeave: (() => Promise<void>) | null = null;
  #noticeId = 0;
  #areHeld = false;
  #fading: Record<number, ReturnType<typeof setTimeout>> = {};

  constructor(readonly client: Client) {
    const kept = localStorage.getItem('theme');
    if (kept === 'light' || kept === 'dark') this.theme = kept;
    this.applyTheme();
    // Before the first paint: a view that appears and goes again steals clicks and the focus.
    const place = localStorage.getItem('place');
    if (places.some((known) => known === place)) this.place = place as Place;
    for (const known of places) this.#unfolded[known] = localStorage.getItem(foldKey(known)) === 'yes';
    const zoom = Number(localStorage.getItem('zoom'));
    if (zooms.some((known) => known === zoom)) this.setZoom(zoom);
  }

  get character(): CharacterSummary | null {
    return this.characters.find((c) => c.id === this.characterId) ?? null;
  }

  setTheme(theme: Theme): void {
    this.theme = theme;
    localStorage.setItem('theme', theme);
    this.applyTheme();
  }

  /** Zooms the whole page, as a browser does. */
  setZoom(percent: number): void {
    this.zoom = percent;
    localStorage.setItem('zoom', `${percent}`);
    void this.attempt(async () => void (await this.client.setZoom(percent / 100)));
  }

  zoomBy(steps: number): void {
    const at = zooms.findIndex((known) => known >= this.zoom);
    this.setZoom(zooms[Math.max(0, Math.min(zooms.length - 1, at + steps))] ?? 100);
  }

  /** Shows the pictures of a character from anywhere. */
  async openGallery(characterId: string): Promise<void> {
    this.wantedGallery = characterId;
    await this.go('gallery', characterId);
  }

  /** Whether the details of the open place are unfolded. */
  get isInspectorOpen(): boolean {
    return this.#unfolded[this.place] ?? false;
  }

  /** Folds the details of the open place, or unfolds them. */
  toggleInspector(): void {
    if (this.actions.inspector) return this.actions.inspector();
    const isOpen = !this.isInspectorOpen;
    this.#unfolded[this.place] = isOpen;
    localStorage.setItem(foldKey(this.place), isOpen ? 'yes' : 'no');
  }

  /** Opens a chat from anywhere. */
  async openChat(chat: { id: string; characterId: string }): Promise<void> {
    this.wantedChat = chat.id;
    await this.go('chat', chat.characterId);
    if (this.actions.openChat) this.actions.openChat(chat.id);
  }

  private applyTheme(): void {
    if (this.theme === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = this.theme;
  }

  async go(place: Place, characterId: string | null = this.characterId): Promise<void> {
    if (this.beforeLeave) await this.beforeLeave();
    this.characterId = characterId;
    if (place !== this.place) void mendFocus(); // the button that led here may be gone
    this.place = place;
    if (characterId) localStorage.setItem('character', characterId);
    if (place !== 'welcome') localStorage.setItem('place', place);
  }

  async start(): Promise<void> {
    await this.#read();
    const kept = localStorage.getItem('character');
    if (kept && this.characters.some((c) => c.id === kept)) {
      this.characterId = kept;
    } else if (localStorage.getItem('place') === null && this.characters.length > 0) {
      // Nothing was ever opened here: greet, and offer someone to talk with.
      this.place = 'welcome';
    }
    this.isLoaded = true;
    await this.refreshStatus();
  }

  /** Shows everything anew, where things changed behind the open place's back. */
  async renew(): Promise<void> {
    if (this.beforeLeave) await this.beforeLeave();
    await this.refresh();
    this.revision += 1;
    void mendFocus();
  }

  async refresh(): Promise<void> {
    await this.#read();
    this.isLoaded = true;
  }

  async #read(): Promise<void> {
    try {
      this.characters = await this.client.listCharacters();
      this.loadError = null;
    } catch (error) {
      this.loadError = asApiError(error);
    }
  }

  async refreshStatus(): Promise<void> {
    this.status = await this.client.appStatus().catch(() => null);
  }

  tell(text: string, undo?: () => Promise<void>): void {
    this.#add({ text, isError: false, ...(undo ? { undo } : {}) });
  }

  complain(error: unknown): void {
    const { message, hint } = errorWords(asApiError(error));
    this.#add({ text: message, hint, isError: true });
  }

  dismiss(id: number): void {
    clearTimeout(this.#fading[id]);
    delete this.#fading[id];
    this.notices = this.notices.filter((n) => n.id !== id);
    this.holdNotices(false); // the button that held them is gone
  }

  /** Runs `work`; shows what went wrong. True when it went well. */
  async attempt(work: () => Promise<void>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      this.complain(error);
      return false;
    }
  }

  #add(notice: Omit<Notice, 'id'>): void {
    const id = ++this.#noticeId;
    // What fails again and again is said once.
    const others = this.notices.filter((n) => !(n.isError && notice.isError && n.text === notice.text));
    this.notices = [...others.slice(-3), { ...notice, id }];
    if (!this.#areHeld) this.#fade(id);
  }

  /** Lets a notice go in a while. Errors stay until they are closed. */
  #fade(id: number): void {
    if (this.notices.some((n) => n.id === id && !n.isError)) {
      this.#fading[id] = setTimeout(() => this.dismiss(id), NOTICE_MS);
    }
  }

  /** Notices stay while somebody reads them or reaches for their buttons. */
  holdNotices(areHeld: boolean): void {
    if (areHeld === this.#areHeld) return;
    this.#areHeld = areHeld;
    Object.values(this.#fading).forEach((timer) => clearTimeout(timer));
    this.#fading = {};
    if (!areHeld) for (const { id } of this.notices) this.#fade(id);
  }
}

const key = Symbol('app');
export const provideApp = (app: App): App => setContext(key, app);
export const useApp = (): App => getContext<App>(key);
