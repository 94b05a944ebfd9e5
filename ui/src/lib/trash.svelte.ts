/** What was deleted and can be brought back. */
import type { ApiError } from './ipc/bindings/ApiError';
import type { DeletedItem } from './ipc/bindings/DeletedItem';
import type { DeletedKind } from './ipc/bindings/DeletedKind';
import { asApiError, type Client } from './ipc/client';
import type { Key } from './messages/en';
import { dateTime, size, t } from './messages/index.svelte';

const DAY_MS = 24 * 60 * 60 * 1000;

const kinds: Record<DeletedKind, Key> = {
  character: 'deletedKindCharacter',
  chat: 'deletedKindChat',
  message: 'deletedKindMessage',
  picture: 'deletedKindPicture',
  run: 'deletedKindRun',
  evaluation: 'deletedKindEvaluation',
};

/** What an entry is called. */
export function titleOf(item: DeletedItem): string {
  const stage = item.stage && t(item.stage === 'grpo' ? 'stageTwo' : 'stageOne');
  const made = item.madeMs === null ? null : dateTime(item.madeMs);
  return [stage || item.title, made].filter(Boolean).join(' · ') || t('deletedWordless');
}

/** What else is known of it, in one line. */
export function aboutWords(item: DeletedItem): string {
  return [
    t(kinds[item.kind]),
    item.owner,
    // A message is counted only where others come back with it.
    item.numMessages > (item.kind === 'message' ? 1 : 0) && t('deletedMessages', { count: item.numMessages }),
    item.sizeBytes !== null && size(item.sizeBytes),
    t('deletedAt', { when: dateTime(item.deletedMs) }),
  ]
    .filter(Boolean)
    .join(' · ');
}

/** Days until an entry goes for good, the one that has begun included; 0 when they are over. */
export function daysLeft(item: DeletedItem, keptDays: number, nowMs = Date.now()): number {
  return Math.max(0, Math.ceil((item.deletedMs + keptDays * DAY_MS - nowMs) / DAY_MS));
}

function restored(client: Client, { kind, id }: DeletedItem): Promise<unknown> {
  switch (kind) {
    case 'character':
      return client.restoreCharacter(id);
    case 'chat':
      return client.restoreChat(id);
    case 'message':
      return client.restoreMessage(id);
    case 'picture':
      return client.restoreGalleryPictures([id]);
    case 'run':
      return client.restoreRun(id);
    case 'evaluation':
      return client.restoreEvaluation(id);
  }
}

export class Trash {
  items = $state.raw<DeletedItem[]>([]);
  keptDays = $state(0);
  isLoaded = $state(false);
  failure = $state<ApiError | null>(null);
  /** What happened last, for everyone to read. */
  said = $state('');
  /** Whether something was brought back, so that what is shown elsewhere is no longer true. */
  hasRestored = false;

  constructor(private readonly client: Client) {}

  get sizeBytes(): number {
    return this.items.reduce((sum, item) => sum + (item.sizeBytes ?? 0), 0);
  }

  async load(): Promise<void> {
    await this.#do(() => Promise.resolve());
    this.isLoaded = true;
  }

  restore(item: DeletedItem): Promise<void> {
    return this.#do(async () => {
      await restored(this.client, item);
      this.hasRestored = true;
      this.said = t('deletedRestored', { title: titleOf(item) });
    });
  }

  /** Discards entries for good. Only what is named goes: not what was deleted meanwhile. */
  discard(items: DeletedItem[]): Promise<void> {
    return this.#do(async () => {
      await this.client.discardItems(items.map(({ kind, id }) => ({ kind, id })));
      this.said = t('deletedDiscarded', { count: items.length });
    });
  }

  /** Does something and reads the list anew; what went wrong stands above it. */
  async #do(work: () => Promise<void>): Promise<void> {
    this.said = '';
    try {
      this.failure = null;
      await work();
    } catch (error) {
      this.failure = asApiError(error);
    }
    try {
      const { items, keptDays } = await this.client.deletedItems();
      [this.items, this.keptDays] = [items, keptDays];
    } catch (error) {
      this.failure ??= asApiError(error);
    }
  }
}
