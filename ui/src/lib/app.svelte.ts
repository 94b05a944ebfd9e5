/** What is shown where: place, chosen character, notices, theme. */
import { getContext, setContext } from 'svelte';
import type { ApiError } from './ipc/bindings/ApiError';
import type { AppStatus } from './ipc/bindings/AppStatus';
import type { CharacterSummary } from './ipc/bindings/CharacterSummary';
import { asApiError, type Client } from './ipc/client';

const places = ['characters', 'chat', 'teach'] as const;
export type Place = (typeof places)[number];
export type Theme = 'system' | 'light' | 'dark';
export type Notice = {
  id: number;
  text: string;
  hint?: string;
  isError: boolean;
  undo?: () => Promise<void>;
};

const NOTICE_MS = 8000;

export class App {
  place = $state<Place>('characters');
  characterId = $state<string | null>(null);
  characters = $state<CharacterSummary[]>([]);
  loadError = $state<ApiError | null>(null);
  isLoaded = $state(false);
  status = $state<AppStatus | null>(null);
  notices = $state<Notice[]>([]);
  theme = $state<Theme>('system');
  /** Called before the place or the character changes, so that nothing typed is lost. */
  beforeLeave: (() => Promise<void>) | null = null;
  #noticeId = 0;

  constructor(readonly client: Client) {
    const kept = localStorage.getItem('theme');
    if (kept === 'light' || kept === 'dark') this.theme = kept;
    this.applyTheme();
    // Before the first paint: a view that appears and goes again steals clicks and the focus.
    const place = localStorage.getItem('place');
    if (places.some((known) => known === place)) this.place = place as Place;
  }

  get character(): CharacterSummary | null {
    return this.characters.find((c) => c.id === this.characterId) ?? null;
  }

  setTheme(theme: Theme): void {
    this.theme = theme;
    localStorage.setItem('theme', theme);
    this.applyTheme();
  }

  private applyTheme(): void {
    if (this.theme === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = this.theme;
  }

  async go(place: Place, characterId: string | null = this.characterId): Promise<void> {
    if (this.beforeLeave) await this.beforeLeave();
    this.characterId = characterId;
    this.place = place;
    if (characterId) localStorage.setItem('character', characterId);
    localStorage.setItem('place', place);
  }

  async start(): Promise<void> {
    await this.refresh();
    const kept = localStorage.getItem('character');
    if (kept && this.characters.some((c) => c.id === kept)) {
      this.characterId = kept;
    }
    await this.refreshStatus();
  }

  async refresh(): Promise<void> {
    try {
      this.characters = await this.client.listCharacters();
      this.loadError = null;
    } catch (error) {
      this.loadError = asApiError(error);
    }
    this.isLoaded = true;
  }

  async refreshStatus(): Promise<void> {
    this.status = await this.client.appStatus().catch(() => null);
  }

  tell(text: string, undo?: () => Promise<void>): void {
    this.#add({ text, isError: false, ...(undo ? { undo } : {}) });
  }

  complain(error: unknown): void {
    const { message, hint } = asApiError(error);
    this.#add({ text: message, hint, isError: true });
  }

  dismiss(id: number): void {
    this.notices = this.notices.filter((n) => n.id !== id);
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
    this.notices = [...this.notices.slice(-3), { ...notice, id }];
    if (!notice.isError) setTimeout(() => this.dismiss(id), NOTICE_MS);
  }
}

const key = Symbol('app');
export const provideApp = (app: App): App => setContext(key, app);
export const useApp = (): App => getContext<App>(key);
