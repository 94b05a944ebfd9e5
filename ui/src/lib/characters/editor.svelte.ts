/** A character being edited: what was typed is kept and saved a moment later. */
import { SvelteMap } from 'svelte/reactivity';
import type { ApiError } from '../ipc/bindings/ApiError';
import type { CharacterDetail } from '../ipc/bindings/CharacterDetail';
import type { CharacterDraft } from '../ipc/bindings/CharacterDraft';
import type { CropItem } from '../ipc/bindings/CropItem';
import type { PictureItem } from '../ipc/bindings/PictureItem';
import type { SceneItem } from '../ipc/bindings/SceneItem';
import { asApiError, type Client, type PictureBytes } from '../ipc/client';

export type SaveState = 'saved' | 'dirty' | 'saving' | 'failed';

/** What is typed beneath a picture. */
type Typed = Partial<Pick<PictureItem, 'caption' | 'expression'>>;

const SAVE_AFTER_MS = 700;

export class CharacterEditor {
  detail = $state<CharacterDetail>() as CharacterDetail;
  draft = $state<CharacterDraft>() as CharacterDraft;
  scenes = $state<SceneItem[]>([]);
  saveState = $state<SaveState>('saved');
  error = $state<ApiError | null>(null);
  refused = $state.raw<ApiError[]>([]);
  /** Grows when everything was replaced at once, so that fields begin anew. */
  revision = $state(0);
  #draftDirty = false;
  #scenesDirty = false;
  /** What was typed and is not saved yet, by picture. */
  readonly #typed = new SvelteMap<string, Typed>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #work: Promise<void> = Promise.resolve();

  /** `onChange` hears of every saved state; the id is new when a bundled character was copied. */
  constructor(
    readonly client: Client,
    detail: CharacterDetail,
    readonly onChange: (detail: CharacterDetail, oldId: string) => void,
  ) {
    this.detail = detail;
    this.draft = structuredClone(detail.draft);
    this.scenes = structuredClone(detail.scenes);
  }

  get id(): string {
    return this.detail.id;
  }

  touchDraft(): void {
    this.#draftDirty = true;
    this.#later();
  }

  touchScenes(): void {
    this.#scenesDirty = true;
    this.#later();
  }

  /** Takes what was typed beneath a picture. */
  touchPicture(pictureId: string, typed: Typed): void {
    this.#typed.set(pictureId, { ...this.#typed.get(pictureId), ...typed });
    const picture = this.detail.pictures.find((p) => p.id === pictureId);
    if (picture) Object.assign(picture, typed);
    this.#later();
  }

  get #isDirty(): boolean {
    return this.#draftDirty || this.#scenesDirty || this.#typed.size > 0;
  }

  #later(): void {
    this.saveState = 'dirty';
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.flush(), SAVE_AFTER_MS);
  }

  /** Saves what is unsaved, after everything that is under way. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    return this.#queue(async () => {
      if (!this.#isDirty) return;
      this.saveState = 'saving';
      const [draft, scenes, typed] = [this.#draftDirty, this.#scenesDirty, [...this.#typed]];
      try {
        if (draft) {
          this.#draftDirty = false;
          this.#take(await this.client.updateCharacter(this.id, $state.snapshot(this.draft)));
        }
        if (scenes) {
          this.#scenesDirty = false;
          const saved = await this.client.saveScenes(this.id, $state.snapshot(this.scenes));
          this.#take(saved);
          // New scenes received their ids; text typed meanwhile stays.
          this.scenes.forEach((scene, i) => (scene.id ||= saved.scenes[i]?.id ?? ''));
        }
        const pictures = $state.snapshot(this.detail.pictures).filter((p) => this.#typed.has(p.id));
        this.#typed.clear();
        if (pictures.length > 0) this.#take(await this.client.updatePictures(this.id, pictures));
        this.error = null;
        this.saveState = this.#isDirty ? 'dirty' : 'saved';
      } catch (error) {
        this.#draftDirty ||= draft;
        this.#scenesDirty ||= scenes;
        for (const [id, words] of typed) this.#typed.set(id, { ...words, ...this.#typed.get(id) });
        this.error = asApiError(error);
        this.saveState = 'failed';
      }
    });
  }

  async addPaths(paths: string[]): Promise<void> {
    if (paths.length === 0) return;
    await this.#pictures(async () => {
      const added = await this.client.addPicturePaths(this.id, paths);
      this.refused = added.refused;
      return added.character;
    });
  }

  async addBytes(items: PictureBytes[]): Promise<void> {
    if (items.length === 0) return;
    await this.#pictures(async () => {
      const added = await this.client.addPictureBytes(this.id, items);
      this.refused = added.refused;
      return added.character;
    });
  }

  updatePicture(picture: PictureItem): Promise<void> {
    return this.#pictures(() => this.client.updatePicture(this.id, picture));
  }

  /** Changes several pictures at once; the answer changes them back. */
  async updatePictures(pictures: PictureItem[]): Promise<() => Promise<void>> {
    const ids = pictures.map((p) => p.id);
    const before = $state.snapshot(this.detail.pictures).filter((p) => ids.includes(p.id));
    await this.#pictures(() => this.client.updatePictures(this.id, pictures));
    return async () => {
      const there = this.detail.pictures.map((p) => p.id);
      const kept = before.filter((p) => there.includes(p.id));
      await this.#pictures(() => this.client.updatePictures(this.id, kept));
    };
  }

  /** Crops a picture, or gives it back whole; the answer brings the former crop back. */
  async cropPicture(pictureId: string, crop: CropItem | null): Promise<() => Promise<void>> {
    const find = () => this.detail.pictures.find((p) => p.id === pictureId);
    const before = $state.snapshot(find()?.crop ?? null);
    await this.#pictures(() => this.client.cropPicture(this.id, pictureId, crop));
    return async () => {
      if (find()) await this.#pictures(() => this.client.cropPicture(this.id, pictureId, before));
    };
  }

  /** Runs work that replaces the character, and takes over everything it answers. */
  async replace(work: () => Promise<CharacterDetail>): Promise<void> {
    await this.#pictures(work);
    this.draft = structuredClone($state.snapshot(this.detail.draft));
    this.scenes = structuredClone($state.snapshot(this.detail.scenes));
    this.revision += 1;
  }

  removePicture(pictureId: string): Promise<void> {
    return this.#pictures(() => this.client.removePicture(this.id, pictureId));
  }

  restorePicture(pictureId: string): Promise<void> {
    return this.#pictures(() => this.client.restorePicture(this.id, pictureId));
  }

  async #pictures(work: () => Promise<CharacterDetail>): Promise<void> {
    await this.flush();
    let failure: unknown;
    await this.#queue(async () => {
      try {
        this.#take(await work());
      } catch (error) {
        failure = error;
      }
    });
    if (failure) throw failure;
  }

  #take(detail: CharacterDetail): void {
    const old = this.detail.id;
    // What was typed meanwhile stays.
    const pictures = detail.pictures.map((p) => ({ ...p, ...this.#typed.get(p.id) }));
    this.detail = { ...detail, pictures };
    this.onChange(detail, old);
  }

  #queue(work: () => Promise<void>): Promise<void> {
    this.#work = this.#work.then(work, work);
    return this.#work;
  }
}
